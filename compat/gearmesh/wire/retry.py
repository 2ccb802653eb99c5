"""The seconds for which a retry waits."""

from __future__ import annotations

__all__ = ["fibonacci_next"]


def fibonacci_next(start: int) -> int:
    """Return the first Fibonacci number greater than ``start`` (1 for any number below 1).

    Source: ``tests/golden/fibonacci.json``.
    """
    low, high = 1, 2
    while low <= start:
        low, high = high, low + high
    return low
