"""Finds firings that are due, from the times of two clocks. It starts no thread and never waits."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from gearmesh.app.periodic import Periodic
from gearmesh.cron import Every, last_times
from gearmesh.scheduler.clock import Now

__all__ = ["Firing", "Missed", "Timetable"]

NOTHING: Final[Mapping[str, int]] = MappingProxyType({})

SECOND_NS: Final = 10**9
#: Wall clocks are slewed all the time; a smaller difference from the steady clock is no step.
MIN_CLOCK_STEP_NS: Final = SECOND_NS
#: The scheduler fires the moments that a clock jumped over if the step forward was no longer than this. A longer step
#: puts a clock right that was wrong.
MAX_FIRED_CLOCK_STEP_NS: Final = 3 * 3600 * SECOND_NS
#: The scheduler looks at this many past moments of each entry at most: to report them, or to fire them after a step.
MAX_MISSED_COUNTED: Final = 100
MAX_JUMPED_FIRINGS: Final = 1000
#: Nanoseconds until the scheduler looks at the clocks again if nothing is due before. It notices a step so late.
CLOCK_CHECK_INTERVAL_NS: Final = 60 * SECOND_NS


@dataclass(frozen=True, slots=True)
class Firing:
    """A moment at which an entry was due (``due_ns``), and the end of the time to send it (``until_ns``); unix ns."""

    entry: Periodic
    due_ns: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class Missed:
    """Moments that will not be fired: how many (at least), and the last of them (unix ns)."""

    entry: Periodic
    count: int
    last_ns: int


@dataclass(slots=True)
class _Line:
    entry: Periodic
    #: when the entry is due next; None: never
    next_ns: int | None


class Timetable:
    """Knows when each entry is due next. Belongs to one thread.

    Calendars follow the wall clock, ``@every`` the steady one. When the wall clock is set

    * forward: the moments that it jumped over are due at once (up to three hours of them, the latest in any case);
    * back: the next moments are found anew. The firings of the hour that comes twice are due again. The lock refuses
      each of them for one period, as it would to another scheduler.
    """

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._last: Now | None = None

    def look(
        self, now: Now, entries: Mapping[str, Periodic], fired: Mapping[str, int] = NOTHING
    ) -> tuple[list[Firing], list[Missed], float]:
        """Return the firings that are due, the missed ones, and the seconds until this should be called again.

        Args:
            now: the clocks' times; ``steady`` is not before that of the last call.
            entries: all entries; new ones are due from now on.
            fired: for new entries, the moment (unix ns) up to which all was fired: later moments are due now.
        """
        step = 0
        if self._last is not None:
            step = (now.wall - self._last.wall) - (now.steady - self._last.steady)
        if abs(step) < MIN_CLOCK_STEP_NS:
            step = 0
        self._last = now
        for line in self._lines.values():
            self._follow(line, now, step)
        firings: list[Firing] = []
        missed: list[Missed] = []
        for name, entry in entries.items():
            if name not in self._lines:
                begin = min(fired.get(name, now.wall), now.wall)
                self._lines[name] = _Line(entry, entry.schedule.next(begin))
            jumped = now.wall - step if 0 < step <= MAX_FIRED_CLOCK_STEP_NS else now.wall
            self._take(self._lines[name], now.wall, jumped, firings, missed)
        firings.sort(key=lambda firing: firing.due_ns)
        return firings, missed, self._pause(now.wall, self._lines.values()) / SECOND_NS

    def _follow(self, line: _Line, now: Now, step: int) -> None:
        """Move a line's next moment by the step of the wall clock."""
        if step == 0 or line.next_ns is None:
            return
        if isinstance(line.entry.schedule, Every):
            line.next_ns += round(step / SECOND_NS) * SECOND_NS
        elif step < 0:
            line.next_ns = line.entry.schedule.next(now.wall)

    def _take(self, line: _Line, wall: int, jumped: int, firings: list[Firing], missed: list[Missed]) -> None:
        """Take the due moments of a line. ``jumped``: a step of the clock has jumped over those after this moment."""
        if line.next_ns is None or line.next_ns > wall:
            return
        entry = line.entry
        due = self._due(line, wall, jumped)
        line.next_ns = entry.schedule.next(due[-1])
        late: list[int] = []
        for moment, until in zip(due, entry.deadlines(due), strict=True):
            if moment > jumped:
                until = max(until, wall + MAX_FIRED_CLOCK_STEP_NS)
            if until > wall:
                firings.append(Firing(entry, moment, until))
            else:
                late.append(moment)
        if late:
            missed.append(Missed(entry, len(late), late[-1]))

    def _due(self, line: _Line, wall: int, jumped: int) -> list[int]:
        """Return the due moments in order; if there are very many, the last ones, with all that may be fired."""
        first, schedule, catch_up = line.next_ns, line.entry.schedule, line.entry.catch_up
        assert first is not None
        if isinstance(schedule, Every):
            last = (wall - first) // schedule.delay_ns
            return [
                first + n * schedule.delay_ns for n in range(max(0, last - MAX_MISSED_COUNTED + 1), last + 1)
            ]
        if isinstance(catch_up, timedelta):
            span = catch_up // timedelta(microseconds=1) * 1000
            recent = last_times(schedule, max(first - 1, wall - span), wall, sys.maxsize)
            if len(recent) >= MAX_MISSED_COUNTED:
                return recent
        most = max(
            MAX_MISSED_COUNTED,
            catch_up if isinstance(catch_up, int) else 0,
            MAX_JUMPED_FIRINGS if jumped < wall else 0,
        )
        return last_times(schedule, first - 1, wall, most)

    def _pause(self, wall: int, lines: Iterable[_Line]) -> int:
        next_moments = (line.next_ns for line in lines if line.next_ns is not None)
        return max(
            0, min(CLOCK_CHECK_INTERVAL_NS, min(next_moments, default=wall + CLOCK_CHECK_INTERVAL_NS) - wall)
        )
