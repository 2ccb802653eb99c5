"""Finds time zones by name, the machine's own zone, and the moments at which offsets change."""

from __future__ import annotations

import os
from datetime import datetime, timezone, tzinfo
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

__all__ = ["first_change", "load_zone", "local_zone", "offset_at"]

DAY_S: Final = 86_400
_LOCALTIME_FILE: Final = "/etc/localtime"


def load_zone(name: str) -> tzinfo:
    """Return the zone with the name behind ``TZ=``; ``""`` is UTC.

    Raises:
        ValueError: no zone has that name.
    """
    if name in ("", "UTC"):
        return timezone.utc
    # Go: refuses absolute paths, and names with a part "..", before it opens a file.
    if name[0] not in "/\\" and ".." not in name.split("/"):
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # no such file, or a folder, or not a file of a zone
            pass
    raise ValueError(f"time zone {name!r}: expected a name such as UTC or Europe/London")


def local_zone() -> tzinfo:
    """Return this process's time zone, found as Go finds its own.

    ``TZ`` names the zone file (empty: UTC); without ``TZ`` the file is ``/etc/localtime``. Go: another value, such as
    ``EST5EDT,M3.2.0,M11.1.0``, means UTC, although the C library can read it.
    """
    named = os.environ.get("TZ")
    if named is None:
        return _of_file(_LOCALTIME_FILE)
    named = named.removeprefix(":")
    if named.startswith("/"):
        return _of_file(named)
    try:
        return load_zone(named)
    except ValueError:
        return timezone.utc


def _of_file(path: str) -> tzinfo:
    """Return the zone of a file, under its name if the file is a link into a folder of zones; UTC without the file."""
    try:
        _, found, name = str(Path(path).resolve()).rpartition("/zoneinfo/")
        with open(path, "rb") as file:
            return ZoneInfo.from_file(file, key=name if found else path)
    except (ValueError, OSError):
        return timezone.utc


def offset_at(zone: tzinfo, moment: int) -> int:
    """Return the seconds by which the zone's clocks are ahead of UTC at a unix second.

    Raises:
        OverflowError, ValueError: the moment is beyond the year 9999.
    """
    offset = datetime.fromtimestamp(moment, zone).utcoffset()
    assert offset is not None
    return round(offset.total_seconds())


def first_change(zone: tzinfo, after: int, until: int) -> int | None:
    """Return the first unix second in (after, until] with another offset than at ``after``; None if the offset stays.

    It would miss two changes within a day that cancel each other; no zone has had such changes.
    """
    offset = offset_at(zone, after)
    while after < until:
        step = min(after + DAY_S, until)
        if offset_at(zone, step) != offset:
            while step - after > 1:
                middle = (after + step) // 2
                if offset_at(zone, middle) == offset:
                    after = middle
                else:
                    step = middle
            return step
        after = step
    return None
