"""Finds the times of a crontab line on a clock that never changes, with croniter."""

from __future__ import annotations

import copy
from datetime import datetime, timedelta, timezone
from typing import Final

from croniter import CroniterBadDateError, croniter

__all__ = ["Walls"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Walls:
    """Finds wall times, as seconds since 1970-01-01 00:00 on the same clock."""

    def __init__(self, text: str, max_years: int) -> None:
        self._croniter = croniter(text, 0.0, max_years_between_matches=max_years)

    def __copy__(self) -> Walls:
        """Copy it for another thread, since croniter remembers its position. A copy is much cheaper than a new one."""
        other = object.__new__(Walls)
        other._croniter = copy.copy(self._croniter)
        return other

    def next(self, after: int) -> int | None:
        """Return the first time after ``after``; None if none follows within ``max_years``."""
        try:
            found: datetime = self._croniter.get_next(
                datetime, start_time=datetime.fromtimestamp(after, timezone.utc)
            )
        except CroniterBadDateError:
            return None
        return (found - _EPOCH) // timedelta(seconds=1)
