"""Settings for running a task, unlike the options for sending it. They are checked when the task is declared."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from gearmesh.app.options import OptionSet, TaskOptions, refuse_call_only
from gearmesh.app.retry import Retry
from gearmesh.errors import TaskError
from gearmesh.habits import unknown_option

__all__ = ["settings_of"]

_RATE = re.compile(r"(\d+(?:\.\d+)?)/([smh])")
#: Settings of a task that has a function.
SETTING_NAMES = ("retry", "rate", "unique_for", "soft_limit", "hard_limit", "bind")
#: Celery's names of the same settings.
_CELERY_LIMIT_NAMES = {"time_limit": "hard_limit", "soft_time_limit": "soft_limit", "rate_limit": "rate"}
_RETRY_NAMES = (
    "max_retries",
    "autoretry_for",
    "dont_autoretry_for",
    "default_retry_delay",
    "retry_backoff",
    "retry_backoff_max",
    "retry_jitter",
)
#: The number of retries for Celery's ``max_retries=None``.
_UNLIMITED_RETRIES = 2**31
#: A policy's settings by Celery's names.
_CELERY_RETRY_NAMES = {
    "max": "max_retries",
    "jitter": "retry_jitter",
    "on": "autoretry_for",
    "not_on": "dont_autoretry_for",
}
#: Celery's own defaults.
DEFAULT_MAX_RETRIES = 3
DEFAULT_RETRY_DELAY_S = 180.0
DEFAULT_BACKOFF_MAX_S = 600.0
#: Celery's task options that gearmesh always fulfils, with the values that it fulfils.
_IMPLIED_OPTIONS: Mapping[str, Any] = {
    "acks_late": True,
    "ignore_result": False,
    "reject_on_worker_lost": True,
    "serializer": "json",
    "store_errors_even_if_ignored": True,
    "track_started": True,
    "typing": True,
}
_SECONDS_PER_UNIT = {"s": 1.0, "m": 60.0, "h": 3600.0}


def settings_of(task: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check the arguments of ``@app.task(…)``; return the settings among them, and the others, which are its options.

    A retry policy's ``max`` becomes the option ``retry_count``, unless that is given.

    Raises:
        TaskError: a setting is wrong. The message names task, setting, value and the expected values.
    """
    rest = _from_celery(task, given)
    refuse_call_only(task, rest)
    known = {*SETTING_NAMES, *TaskOptions.__annotations__, "name"}
    for name in rest:
        if name not in known and name not in OptionSet.__annotations__:
            raise TaskError(unknown_option(task, name, known))
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
    bind = rest.pop("bind", False)
    if not isinstance(bind, bool):
        raise TaskError(f"task {task!r}, bind is {bind!r:.80}, expected True or False")
    pause = _pause(task, rest.pop("rate", None))
    unique_for = _limit(task, "unique_for", rest.pop("unique_for", None))
    return {"retry": retry, "bind": bind, "pause": pause, "unique_for": unique_for, **limits}, rest


def _from_celery(task: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with Celery's names replaced by gearmesh's.

    Raises:
        TaskError: a setting is given by both names, or has a value that gearmesh cannot fulfil.
    """
    rest = dict(given)
    per_second = rest.get("rate_limit")
    if isinstance(per_second, (int, float)) and not isinstance(per_second, bool):
        rest["rate_limit"] = f"{per_second:g}/s"
    for theirs, ours in _CELERY_LIMIT_NAMES.items():
        if (value := rest.pop(theirs, None)) is not None:
            if rest.get(ours) is not None:
                raise TaskError(f"task {task!r}: {theirs} and {ours} are one setting, expected one of them")
            rest[ours] = value
    for name, value in _IMPLIED_OPTIONS.items():
        if name in rest and rest[name] in (value, None):
            del rest[name]
    if rest.pop("acks_late", True) is not True:
        raise TaskError(
            f"task {task!r}, acks_late is False, expected True: a message is always acknowledged after its task"
        )
    asked = {name: rest.pop(name) for name in _RETRY_NAMES if name in rest}
    bound = rest.get("bind") is True
    # A bound task that gives its own retry_count has Go's rule: every failure is tried again.
    alone = rest.get("retry") is None and rest.get("retry_count") is None
    if asked or (bound and alone):
        if rest.get("retry") is not None:
            raise TaskError(
                f"task {task!r}: {', '.join(asked)} and retry exclude each other: use one of the two ways"
            )
        rest["retry"] = _retry_from(task, asked)
    return rest


def _retry_from(task: str, asked: Mapping[str, Any]) -> Retry:
    """Celery's settings as a policy. Without autoretry_for only ``task.retry()`` tries again.

    Raises:
        TaskError: a setting is wrong. The message names task, setting, value and the expected values.
    """
    backoff = asked.get("retry_backoff", False)
    delay = _number(task, "default_retry_delay", asked.get("default_retry_delay", DEFAULT_RETRY_DELAY_S))
    first = 1.0 if backoff is True else _number(task, "retry_backoff", backoff) if backoff else delay
    first = max(first, 0.001)  # the least pause of a policy
    highest = _number(task, "retry_backoff_max", asked.get("retry_backoff_max", DEFAULT_BACKOFF_MAX_S))
    jitter = asked.get("retry_jitter", True)
    most = asked.get("max_retries", DEFAULT_MAX_RETRIES)
    try:
        return Retry(
            max=_UNLIMITED_RETRIES if most is None else most,
            backoff="exponential" if backoff else "constant",
            first=first,
            most=max(first, highest),
            jitter=bool(backoff) and jitter,
            on=asked.get("autoretry_for", ()),
            not_on=asked.get("dont_autoretry_for", ()),
        )
    except TaskError as exc:
        text = str(exc).removeprefix("Retry: ")
        ours, _, rest = text.partition(" ")
        raise TaskError(f"task {task!r}, {_CELERY_RETRY_NAMES.get(ours, ours)} {rest}") from None


def _number(task: str, name: str, value: Any) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1e9:  # NaN fails too
        raise TaskError(f"task {task!r}, {name} is {value!r:.80}, expected seconds from 0 to 1e9")
    return float(value)


def _pause(task: str, rate: Any) -> float | None:
    """Seconds between two runs, from a rate such as "100/m"."""
    if rate is None:
        return None
    match = _RATE.fullmatch(rate) if isinstance(rate, str) else None
    if match is None or float(match[1]) <= 0:
        raise TaskError(
            f"task {task!r}, rate is {rate!r:.80}, expected a number above 0 and a unit: 5/s, 100/m, 10/h"
        )
    return _SECONDS_PER_UNIT[match[2]] / float(match[1])


def _limit(task: str, name: str, value: Any, *, zero: bool = False) -> float | None:
    """Check seconds. ``zero``: True: 0 is allowed, and means never."""
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (value == 0 and not zero):
        expected = "seconds, 0 for never, or None" if zero else "seconds above 0, or None"
        raise TaskError(f"task {task!r}, {name} is {value!r:.80}, expected {expected}")
    return float(value)
