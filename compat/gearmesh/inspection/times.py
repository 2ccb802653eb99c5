"""Writes times for people ("3 min ago", "in 2 h") and for scripts (RFC 3339, UTC, to the second)."""

from __future__ import annotations

from typing import Final

from gearmesh.errors import LocalProtocolError, RemoteProtocolError
from gearmesh.wire import gotime
from gearmesh.wire.state import ZERO_TIME

__all__ = ["age", "exact", "exact_or_none", "ns_of", "ns_of_unix", "span"]

SECOND_NS: Final = 10**9
#: Seconds of each unit, the largest first.
_UNITS: Final = ((365 * 86_400, "y"), (86_400, "d"), (3600, "h"), (60, "min"))
#: Unix seconds that are later than any time in RFC 3339.
MAX_UNIX_S: Final = 1e13


def span(seconds: float) -> str:
    """Write a duration in one unit: ``12 s``, ``5 min``, ``3 h``, ``9 d``, ``2 y``. Less than a second is ``0 s``."""
    whole = int(seconds)
    for size, unit in _UNITS:
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def age(ns: int, now_ns: int) -> str:
    """Write a time as seen at ``now_ns``: ``3 min ago``, ``in 2 h``, ``now``. Both are unix nanoseconds."""
    seconds = (ns - now_ns) / SECOND_NS
    if abs(seconds) < 1:
        return "now"
    return f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"


def exact(ns: int) -> str:
    """Write a time as ``2026-11-28T21:05:24Z``, or ``after the year 9999``, ``before the year 0``."""
    try:
        return gotime.format_ns(ns // SECOND_NS * SECOND_NS)
    except LocalProtocolError:
        return "after the year 9999" if ns > 0 else "before the year 0"


def ns_of(text: str) -> int | None:
    """Read an RFC 3339 time of a state as unix nanoseconds; None if it is Go's zero time or cannot be read."""
    if text == ZERO_TIME:
        return None
    try:
        return gotime.parse(text)
    except (LocalProtocolError, RemoteProtocolError):
        return None


def ns_of_unix(seconds: float | None) -> int | None:
    """Convert unix seconds, of any size, to nanoseconds; None for None."""
    return None if seconds is None else int(max(-MAX_UNIX_S, min(seconds, MAX_UNIX_S)) * SECOND_NS)


def exact_or_none(ns: int | None) -> str | None:
    """Do as :func:`exact`; None for None."""
    return None if ns is None else exact(ns)
