"""Waits for a condition, in place of a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["AWAIT_TIMEOUT_S", "eventually"]

T = TypeVar("T")

#: Seconds within which a condition must become true.
AWAIT_TIMEOUT_S = 60.0


def eventually(condition: Callable[[], T], timeout: float = AWAIT_TIMEOUT_S, what: str = "") -> T:
    """Wait for a true value of ``condition``, which is called every 5 ms, and return it.

    Raises:
        AssertionError: the condition did not become true within ``timeout`` seconds; the text names ``what``.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or 'it'} did not happen within {timeout:g} s")
        time.sleep(0.005)
    return value
