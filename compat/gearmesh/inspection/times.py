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
#: Unix seconds beyond every year that a time can have.
MAX_UNIX_S: Final = 1e13


def span(seconds: float) -> str:
    """A duration in one unit: ``12 s``, ``5 min``, ``3 h``, ``9 d``, ``2 y``. Less than a second is ``0 s``."""
    whole = int(seconds)
    for size, unit in _UNITS:
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def age(ns: int, now_ns: int) -> str:
    """``3 min ago``, ``in 2 h``, ``now``: a time as it is seen at ``now_ns``. Both are unix nanoseconds."""
    seconds = (ns - now_ns) / SECOND_NS
    if abs(seconds) < 1:
        return "now"
    return f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"


def exact(ns: int) -> str:
    """``2026-11-28T21:05:24Z``; for a time outside of RFC 3339's range, the side of that range."""
    try:
        return gotime.format_ns(ns // SECOND_NS * SECOND_NS)
    except LocalProtocolError:
        return "after the year 9999" if ns > 0 else "before the year 0"


def ns_of(text: str) -> int | None:
    """Unix nanoseconds of an RFC 3339 time as a state has it; None where it is Go's zero time or unreadable."""
    if text == ZERO_TIME:
        return None
    try:
        return gotime.parse(text)
    except (LocalProtocolError, RemoteProtocolError):
        return None


def ns_of_unix(seconds: float | None) -> int | None:
    """Unix seconds, of any size, as nanoseconds; None for None."""
    return None if seconds is None else int(max(-MAX_UNIX_S, min(seconds, MAX_UNIX_S)) * SECOND_NS)


def exact_or_none(ns: int | None) -> str | None:
    """As :func:`exact`; None for None."""
    return None if ns is None else exact(ns)
