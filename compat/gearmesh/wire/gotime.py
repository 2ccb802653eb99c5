"""Times as Go writes and reads them: RFC 3339 text, exact to the nanosecond.

Everywhere in gearmesh a moment is an int, nanoseconds since the Unix epoch, or the text itself;
a ``datetime`` holds only microseconds and no year 0.

Source: Go's ``time.Time`` JSON methods, as recorded in ``tests/golden/times.jsonl`` and the
``eta`` cases of ``signature_codec.jsonl``.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache

from gearmesh.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["canonical", "format_ns", "from_datetime", "is_canonical", "parse"]

# Go: the hour may have one digit. The fraction may follow a comma and have any length.
_LAYOUT = (
    ("2006", r"([0-9]{4})"),
    ("-", "-"),
    ("01", r"([0-9]{2})"),
    ("-", "-"),
    ("02", r"([0-9]{2})"),
    ("T", "T"),
    ("15", r"([0-9]{1,2})"),
    (":", ":"),
    ("04", r"([0-9]{2})"),
    (":", ":"),
    ("05", r"([0-9]{2})(?:[.,]([0-9]+))?"),
    ("Z07:00", r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))"),
)
_TEXT = re.compile("".join(pattern for _, pattern in _LAYOUT))
#: The parts of the layout that have bounds: the name of each in Go's error, and its least and greatest number.
_RANGES = {"01": ("month", 1, 12), "15": ("hour", 0, 23), "04": ("minute", 0, 59), "05": ("second", 0, 59)}
# Matches nearly every time in a message. is_canonical parses the others: 29 February, and times in other zones.
_USUAL = re.compile(
    r"[0-9]{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{0,8}[1-9])?Z"
).fullmatch
_EPOCH = datetime(1970, 1, 1)
_UNIX_DAYS = 719162  # from 0001-01-01, day 1, to 1970-01-01
_CYCLE_DAYS = 146097  # 400 years: the calendar repeats
_MIN_SECONDS = -62167219200  # 0000-01-01T00:00:00
_MAX_SECONDS = 253402300799  # 9999-12-31T23:59:59


def _read(text: str) -> tuple[int, int, int]:
    """Return the seconds of the wall clock (as if it were UTC), the nanoseconds, and the offset in seconds."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise RemoteProtocolError(f'parsing time "{_quoted(text)}"{_unparsed(text)}')
    year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
    fraction, sign, zone_hour, zone_minute = match.group(7, 8, 9, 10)
    offset = 0
    if sign:
        # Go: reads offsets of 24 hours and of 60 minutes, since people write them.
        if int(zone_hour) > 24 or int(zone_minute) > 60:
            raise RemoteProtocolError(f'parsing time "{_quoted(text)}"{_unparsed(text)}')
        offset = int(zone_hour) * 3600 + int(zone_minute) * 60
        if sign == "-":
            offset = -offset
    try:
        # Year 0 is a leap year like 400, and datetime begins with 1.
        wall = datetime(year or 400, month, day, hour, minute, second)
    except ValueError:
        raise RemoteProtocolError(f'parsing time "{_quoted(text)}"{_unparsed(text)}') from None
    days = wall.toordinal() - 1 - _UNIX_DAYS - (0 if year else _CYCLE_DAYS)
    nanos = int(fraction[:9].ljust(9, "0")) if fraction else 0
    return days * 86400 + hour * 3600 + minute * 60 + second, nanos, offset


def _unparsed(text: str) -> str:
    """Return the reason why Go refuses a time: its first part that does not match the layout, or is out of range."""
    at = 0
    for part, pattern in _LAYOUT:
        match = re.compile(pattern).match(text, at)
        if match is None:
            return f' as "2006-01-02T15:04:05Z07:00": cannot parse "{_quoted(text[at:])}" as "{part}"'
        name, low, high = _RANGES.get(part, ("", 0, 0))
        if name and not low <= int(match.group(1)) <= high:
            return f": {name} out of range"
        if part == "Z07:00" and match.group(1):
            for name, most, digits in (("minute", 60, match.group(3)), ("hour", 24, match.group(2))):
                if int(digits) > most:
                    return f": time zone offset {name} out of range"
        at = match.end()
    return f': extra text: "{_quoted(text[at:])}"' if text[at:] else ": day out of range"


def _quoted(text: str) -> str:
    """Return text as Go quotes it in errors about times; long text is cut."""
    return text[:100].replace("\\", r"\\").replace('"', r"\"")


def parse(text: str) -> int:
    """Return the nanoseconds since the Unix epoch (negative before 1970) of a time, read as Go reads it.

    Digits of the fraction beyond the ninth are cut. Raises RemoteProtocolError if Go refuses the text.
    """
    seconds, nanos, offset = _read(text)
    return (seconds - offset) * 1_000_000_000 + nanos


def canonical(text: str) -> str:
    """Return the time as Go writes it after reading it, in the same zone.

    Raises RemoteProtocolError if Go refuses the text, or reads it and cannot write it again (an offset of 24 hours).
    """
    seconds, nanos, offset = _read(text)
    try:
        return format_ns((seconds - offset) * 1_000_000_000 + nanos, offset)
    except LocalProtocolError as error:
        raise RemoteProtocolError(f'time "{text}": {error}') from None


def is_canonical(text: str) -> bool:
    """True if ``text`` is a time exactly as Go writes it."""
    if _USUAL(text) is not None:
        return True
    try:
        return canonical(text) == text
    except RemoteProtocolError:
        return False


def format_ns(ns: int, offset: int = 0) -> str:
    """Return Go's text for ``ns`` nanoseconds since the Unix epoch.

    ``offset``: seconds east of UTC; 0 writes ``Z``. Raises LocalProtocolError for a time that Go does
    not write: with a year outside 0 to 9999 (in that zone), or an offset of 24 hours or more.
    """
    seconds, nanos = divmod(ns, 1_000_000_000)
    seconds += offset
    if not _MIN_SECONDS <= seconds <= _MAX_SECONDS:
        raise LocalProtocolError(f"time of {ns} ns: year outside of range [0,9999]")
    text = _wall_clock(seconds)
    if nanos:
        text += f".{nanos:09d}".rstrip("0")
    if not offset:
        return text + "Z"
    # Go: drops the seconds of an offset, towards zero. It writes +00:00, and not Z, if nothing is left.
    minutes = abs(offset) // 60
    if minutes >= 24 * 60:
        raise LocalProtocolError(f"time zone offset of {offset} s: hour outside of range [0,23]")
    sign = "-" if offset < 0 and minutes else "+"
    return f"{text}{sign}{minutes // 60:02d}:{minutes % 60:02d}"


@lru_cache(16)
def _wall_clock(seconds: int) -> str:
    """Return the text of a second, without zone. It is cached, since a process asks for the present second often."""
    if seconds >= _MIN_SECONDS + 366 * 86400:
        return (_EPOCH + timedelta(seconds=seconds)).isoformat()
    later = (_EPOCH + timedelta(days=_CYCLE_DAYS, seconds=seconds)).isoformat()
    return "0000" + later[4:]


def from_datetime(moment: datetime) -> str:
    """Return the exact text of an aware datetime, in its own zone or in UTC.

    The text is in UTC if the offset is not a whole number of minutes, as in local mean times: Go drops the seconds of
    an offset when it writes a time, and so would write another moment.

    Raises:
        LocalProtocolError: the datetime is naive, so its time zone is not known; or its year is outside 0 to 9999 in
            UTC.
    """
    zone = moment.utcoffset()
    if zone is None:
        raise LocalProtocolError(f"{moment!r} has no time zone; use datetime.now(timezone.utc) or the like")
    wall = moment.replace(tzinfo=None) - _EPOCH
    offset = zone.days * 86400 + zone.seconds
    nanos = (wall.days * 86400 + wall.seconds - offset) * 1_000_000_000 + wall.microseconds * 1000
    nanos -= zone.microseconds * 1000
    utc = format_ns(nanos)
    return utc if offset % 60 or zone.microseconds else format_ns(nanos, offset)
