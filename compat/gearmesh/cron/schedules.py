"""The schedules that specs describe. All moments are unix nanoseconds, on whole seconds."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Final, Protocol

from gearmesh.cron.fields import BOUNDS, DAYS, WEEKDAYS, Bounds, Values
from gearmesh.cron.zones import first_change, offset_at

if TYPE_CHECKING:
    from gearmesh.cron.walls import Walls

__all__ = ["SECOND_NS", "Calendar", "Every", "Schedule", "last_times"]

SECOND_NS: Final = 10**9
#: Go: the search for the next moment ends with the fifth year after the year in which it began.
MAX_SEARCH_YEARS: Final = 5


class Schedule(Protocol):
    """Computes the due times of a periodic task."""

    def next(self, after_ns: int) -> int | None:
        """Return the first moment after ``after_ns``; None if no moment follows."""

    def times(self, after_ns: int) -> Iterator[int]:
        """Yield all moments after ``after_ns``, in order."""


@dataclass(frozen=True, slots=True)
class Every:
    """``@every``: each due time is ``delay_ns`` after the one before, on a whole second."""

    delay_ns: int

    def next(self, after_ns: int) -> int:
        # Go: rounds the time down, so that the task is due at the beginning of a second.
        return after_ns + self.delay_ns - after_ns % SECOND_NS

    def times(self, after_ns: int) -> Iterator[int]:
        while True:
            after_ns = self.next(after_ns)
            yield after_ns


@dataclass(frozen=True, slots=True)
class Calendar:
    """A crontab line: the task is due at its minutes, as the wall clocks of a zone show them.

    As in Go, the task is not due at a wall time that a clock change skips, and due twice at one that it repeats.
    """

    #: Minutes, hours, days of the month, months, weekdays.
    fields: tuple[Values, ...]
    zone: tzinfo
    #: None: no time can ever match.
    walls: Walls | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # croniter would take a tenth of a worker's imports, and few workers need it.
        from gearmesh.cron.walls import Walls

        text = self._text()
        object.__setattr__(self, "walls", None if text is None else Walls(text, MAX_SEARCH_YEARS))

    def next(self, after_ns: int) -> int | None:
        return next(self.times(after_ns), None)

    def times(self, after_ns: int) -> Iterator[int]:
        if self.walls is None:
            return
        walls = copy.copy(self.walls)
        after = after_ns // SECOND_NS
        while (found := self._next(walls, after)) is not None:
            yield found * SECOND_NS
            after = found

    def _next(self, walls: Walls, after: int) -> int | None:
        """Search the first unix second after ``after``, from one change of the zone's offset to the next."""
        try:
            last_year = self._year(after + 1) + MAX_SEARCH_YEARS
            begin, offset = after, offset_at(self.zone, after)
            wall = after + offset
            while True:
                found = walls.next(wall)
                if found is None:
                    return None
                moment = found - offset
                change = first_change(self.zone, begin, moment)
                if change is None:
                    return None if self._year(moment) > last_year else moment
                if self._year(change) > last_year:
                    return None
                begin, offset = change, offset_at(self.zone, change)
                wall = change + offset - 1
        except (OverflowError, ValueError):  # beyond the year 9999
            return None

    def _year(self, moment: int) -> int:
        return datetime.fromtimestamp(moment, self.zone).year

    def _text(self) -> str | None:
        """Return the crontab line for croniter; None if it can never match."""
        minutes, hours, days, months, weekdays = self.fields
        if not (minutes.numbers and hours.numbers and months.numbers):
            return None
        if days.star or weekdays.star:
            # Go: if either field has a star, both must match. A star has all numbers.
            if not (days.numbers and weekdays.numbers):
                return None
        elif days.numbers == ALL_DAYS or weekdays.numbers == ALL_WEEKDAYS:
            # Go: without a star, one of the two is enough, so a full list matches every day. croniter would read a full
            # list as a star, and require both.
            days = weekdays = Values((), star=True)
        elif not (days.numbers or weekdays.numbers):
            return None
        return " ".join(map(_listed, (minutes, hours, days, months, weekdays), BOUNDS))


ALL_DAYS: Final = tuple(range(DAYS.least, DAYS.most + 1))
ALL_WEEKDAYS: Final = tuple(range(WEEKDAYS.least, WEEKDAYS.most + 1))


def _listed(values: Values, bounds: Bounds) -> str:
    """Write a field for croniter. Only a day field beside one with numbers may be empty; its ``*`` adds nothing."""
    if values.star or not values.numbers or len(values.numbers) > bounds.most - bounds.least:
        return "*"
    return ",".join(map(str, values.numbers))


def last_times(schedule: Schedule, after_ns: int, until_ns: int, most: int) -> list[int]:
    """Return the last moments in (after, until], at most ``most`` of them, in order.

    It searches back from ``until_ns``, twice as far each time, so that a long gap takes no longer than the moments in
    it.
    """
    span = 3600 * SECOND_NS
    while True:
        begin = max(after_ns, until_ns - span)
        found: list[int] = []
        for moment in schedule.times(begin):
            if moment > until_ns:
                break
            found.append(moment)
        if len(found) >= most or begin == after_ns:
            return found[-most:] if most > 0 else []
        span *= 2
