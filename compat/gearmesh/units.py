"""Numbers and times for people, in log lines and on the terminal."""

from __future__ import annotations

from datetime import datetime

__all__ = ["counted", "duration", "local_time", "short_id"]

#: Letters of a UUID of Machinery's that tell the tasks of a log apart: ``task_`` and eight digits.
SHORT_ID_LENGTH = 13
UUID_LENGTH = 41


def counted(count: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun: ``1 task``, ``2,000 tasks``, ``3 processes``. ``plural``: an irregular plural."""
    return f"{count:,} {noun if count == 1 else plural or noun + ('es' if noun.endswith('s') else 's')}"


def duration(seconds: float) -> str:
    """Write seconds for people: ``12.3 ms``, ``2 s``, ``5 min``, ``24 h``, ``7 days``."""
    if seconds < 1:
        milliseconds = seconds * 1000
        return f"{milliseconds:.0f} ms" if milliseconds >= 100 else f"{float(f'{milliseconds:.3g}'):.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    for size, unit in ((60, "min"), (3600, "h")):
        if seconds < 2 * size * (60 if unit == "min" else 24):
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:.3g} days"


def local_time(unix_ns: int) -> str:
    """Write unix nanoseconds as local time with its offset, for log lines: ``2026-11-29T02:00:00+01:00``."""
    return datetime.fromtimestamp(unix_ns // 10**9).astimezone().isoformat()


def short_id(uuid: str) -> str:
    """Return the beginning of a UUID that gearmesh or Machinery made, and any other id as it is."""
    return uuid[:SHORT_ID_LENGTH] if len(uuid) == UUID_LENGTH and uuid.startswith("task_") else uuid
