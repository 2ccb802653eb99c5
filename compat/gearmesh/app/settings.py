"""What a task says of how it is run here, apart from how it is sent; checked when it is declared."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from gearmesh.app.retry import Retry
from gearmesh.errors import TaskError

__all__ = ["settings_of"]

_RATE = re.compile(r"(\d+(?:\.\d+)?)/([smh])")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def settings_of(task: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings among what ``@app.task(…)`` was given, checked; and the rest, its options.

    A retry policy's ``max`` becomes the option ``retry_count``, unless that is given.

    Raises:
        TaskError: naming task, setting, value and what was expected.
    """
    rest = dict(given)
    retry = rest.pop("retry", None)
    if retry is not None:
        if not isinstance(retry, Retry):
            raise TaskError(f"task {task!r}, retry is {retry!r:.80}, expected a Retry(…)")
        if rest.get("retry_count") is None:
            rest["retry_count"] = retry.max
    limits = {
        name: _limit(task, name, rest.pop(name, None), zero=True) for name in ("soft_limit", "hard_limit")
    }
    soft, hard = limits["soft_limit"], limits["hard_limit"]
    if soft and hard and soft > hard:
        raise TaskError(
            f"task {task!r}, soft_limit is {soft:g} s, expected at most the hard_limit of {hard:g} s"
        )
    pause = _pause(task, rest.pop("rate", None))
    unique_for = _limit(task, "unique_for", rest.pop("unique_for", None))
    return {"retry": retry, "pause": pause, "unique_for": unique_for, **limits}, rest


def _pause(task: str, rate: Any) -> float | None:
    """Seconds between two runs, from a rate such as "100/m"."""
    if rate is None:
        return None
    match = _RATE.fullmatch(rate) if isinstance(rate, str) else None
    if match is None or float(match[1]) <= 0:
        raise TaskError(
            f"task {task!r}, rate is {rate!r:.80}, expected a number above 0 and a unit: 5/s, 100/m, 10/h"
        )
    return _UNITS[match[2]] / float(match[1])


def _limit(task: str, name: str, value: Any, *, zero: bool = False) -> float | None:
    """``zero``: it is allowed, and means never."""
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (value == 0 and not zero):
        expected = "seconds, 0 for never, or None" if zero else "seconds above 0, or None"
        raise TaskError(f"task {task!r}, {name} is {value!r:.80}, expected {expected}")
    return float(value)
