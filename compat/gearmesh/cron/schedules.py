"""What a spec means: the moments it names. All moments are unix nanoseconds, on whole seconds."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Final, Protocol

from croniter import CroniterBadDateError, croniter

from gearmesh.cron.fields import DAYS, HOURS, MINUTES, MONTHS, WEEKDAYS, Bounds, Values
from gearmesh.cron.zones import first_change, offset_at

__all__ = ["SECOND", "Calendar", "Every", "Schedule", "last_times"]

SECOND: Final = 10**9
#: Go: the search for the next moment ends with the fifth year after that in which it began.
YEARS: Final = 5


class Schedule(Protocol):
    """Says when something is due."""

    def next(self, after_ns: int) -> int | None:
        """The first moment after ``after_ns``; None: never."""

    def times(self, after_ns: int) -> Iterator[int]:
        """All moments after ``after_ns``, in order."""


@dataclass(frozen=True, slots=True)
class Every:
    """``@every``: again and again, ``delay_ns`` after the last time, on the second."""

    delay_ns: int

    def next(self, after_ns: int) -> int:
        # Go: rounded so that it is due when a second begins.
        return after_ns + self.delay_ns - after_ns % SECOND

    def times(self, after_ns: int) -> Iterator[int]:
        while True:
            after_ns = self.next(after_ns)
            yield after_ns


@dataclass(frozen=True, slots=True)
class Calendar:
    """Minutes that wall clocks of a zone show.

    A wall time that a clock change skips is skipped; one that a change repeats is due both times, as in Go.
    """

    minutes: Values
    hours: Values
    days: Values
    months: Values
    weekdays: Values
    zone: tzinfo
    #: None: no day can ever match.
    walls: _Walls | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        text = self._text()
        object.__setattr__(self, "walls", None if text is None else _Walls(text))

    def next(self, after_ns: int) -> int | None:
        return next(self.times(after_ns), None)

    def times(self, after_ns: int) -> Iterator[int]:
        if self.walls is None:
            return
        walls = copy.copy(self.walls)
        after = after_ns // SECOND
        while (found := self._next(walls, after)) is not None:
            yield found * SECOND
            after = found

    def _next(self, walls: _Walls, after: int) -> int | None:
        """The first unix second after ``after``, from one change of the zone's offset to the next."""
        try:
            last_year = self._year(after + 1) + YEARS
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
        """What croniter is given."""
        minutes, hours, days, months, weekdays = (
            self.minutes,
            self.hours,
            self.days,
            self.months,
            self.weekdays,
        )
        if not (minutes.numbers and hours.numbers and months.numbers):
            return None
        if days.star or weekdays.star:
            # Go: a star in either field: both must match. A star holds all numbers.
            if not (days.numbers and weekdays.numbers):
                return None
        elif days.numbers == ALL_DAYS or weekdays.numbers == ALL_WEEKDAYS:
            # Go: without a star one of the two is enough. croniter takes a full list for a star.
            days = weekdays = Values((), star=True)
        elif not (days.numbers or weekdays.numbers):
            return None
        return " ".join(
            (
                _listed(minutes, MINUTES),
                _listed(hours, HOURS),
                _listed(days, DAYS),
                _listed(months, MONTHS),
                _listed(weekdays, WEEKDAYS),
            )
        )


ALL_DAYS: Final = tuple(range(DAYS.least, DAYS.most + 1))
ALL_WEEKDAYS: Final = tuple(range(WEEKDAYS.least, WEEKDAYS.most + 1))


def _listed(values: Values, bounds: Bounds) -> str:
    """A field for croniter. An empty one stands beside a day field that holds numbers, and adds nothing to it."""
    if values.star or not values.numbers or len(values.numbers) > bounds.most - bounds.least:
        return "*"
    return ",".join(map(str, values.numbers))


class _Walls:
    """Wall times, as seconds since 1970-01-01 00:00 on the same clock."""

    def __init__(self, text: str) -> None:
        self._croniter = croniter(text, 0.0, max_years_between_matches=YEARS)

    def __copy__(self) -> _Walls:
        """For another thread: croniter remembers where it is. To copy it is much cheaper than to make it."""
        other = object.__new__(_Walls)
        other._croniter = copy.copy(self._croniter)
        return other

    def next(self, after: int) -> int | None:
        """The first one after ``after``; None if there is none for five years."""
        try:
            found: datetime = self._croniter.get_next(
                datetime, start_time=datetime.fromtimestamp(after, timezone.utc)
            )
        except CroniterBadDateError:
            return None
        return (found - _EPOCH) // timedelta(seconds=1)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


def last_times(schedule: Schedule, after_ns: int, until_ns: int, most: int) -> list[int]:
    """The last moments in (after, until], at most ``most`` of them, in order.

    It looks back from ``until_ns``, twice as far each time, so a long gap costs no more than what is found.
    """
    span = 3600 * SECOND
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
