"""Reads Go's durations: ``1h30m``, ``1.5s``, ``-5m``."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["parse_duration"]

_NS_PER_UNIT: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # U+00B5
    "μs": 10**3,  # U+03BC
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?(?P<unit>[^.0-9]*)", re.ASCII)
_MAX_DURATION_NS: Final = 2**63


def parse_duration(text: str) -> int:
    """Return the nanoseconds of a duration, as Go's ``time.ParseDuration`` reads it.

    Raises:
        ValueError: the message names the duration and the expected form.
    """
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    if not rest:
        raise ValueError(f"duration {text!r}: expected one such as 90s, 5m or 1h30m")
    total = position = 0
    while position < len(rest):
        match = _PART.match(rest, position)
        assert match is not None  # each part of the pattern may be empty
        whole, fraction, unit = match["whole"], match["fraction"] or "", match["unit"]
        if not whole and not fraction:
            raise ValueError(f"duration {text!r}: expected a number at {rest[position:]!r}")
        if unit not in _NS_PER_UNIT:
            raise ValueError(f"duration {text!r}: unit {unit!r}, expected one of {', '.join(_NS_PER_UNIT)}")
        # A Go duration is a signed 64-bit number, so more than 19 digits are too many in any unit.
        digits = whole.lstrip("0")
        if len(digits) > 19:
            raise ValueError(f"duration {text!r}: expected at most 292 years")
        total += int(digits or "0") * _NS_PER_UNIT[unit]
        if fraction:
            # Go: computes the fraction in floating point, too.
            kept = fraction[:18]
            total += int(float(int(kept)) * (_NS_PER_UNIT[unit] / float(10 ** len(kept))))
        if total > _MAX_DURATION_NS or (total == _MAX_DURATION_NS and sign > 0):
            raise ValueError(f"duration {text!r}: expected at most 292 years")
        position = match.end()
    return sign * total
