"""Simulated time for schedulers: a test lets days pass in milliseconds, and can set clocks wrong.

::

    time = SimulatedTime("2024-03-01T12:00:00Z")
    clock = time.clock()
    with Scheduler(app, clock=clock) as scheduler:
        time.advance(3600, scheduler)   # the scheduler sends all tasks that are due in this hour
        clock.step(-60)                 # the wall clock goes back by a minute
"""

from __future__ import annotations

import threading

from gearmesh.scheduler.clock import Now, Waker
from gearmesh.scheduler.scheduler import Scheduler
from gearmesh.wire import gotime

__all__ = ["SimulatedClock", "SimulatedTime"]

SECOND = 10**9
#: Seconds of real time within which schedulers must have sent all due tasks.
REST_TIMEOUT_S = 60.0


class SimulatedTime:
    """A time that passes only when a test advances it. ``start``: the first time that clocks show, RFC 3339."""

    def __init__(self, start: str) -> None:
        self.start_ns = gotime.parse(start)
        #: nanoseconds since the start
        self.steady = 0
        #: number of times that a scheduler was woken because its sleep was over
        self.wakes = 0
        self._changed = threading.Condition()
        self._sleepers: dict[Waker, int] = {}

    def clock(self, skew: float = 0.0) -> SimulatedClock:
        """Make a clock that is ``skew`` seconds ahead of the simulated time."""
        return SimulatedClock(self, skew)

    def seconds(self) -> float:
        """Seconds since the start, in the form of a clock for :class:`~gearmesh.locks.memory.MemoryLock`."""
        return self.steady / SECOND

    def advance(self, seconds: float, *schedulers: Scheduler) -> None:
        """Let ``seconds`` pass. At each time at which a scheduler wakes, wait until it has sent the due tasks."""
        target = self.steady + round(seconds * SECOND)
        while True:
            self.settle(*schedulers)
            with self._changed:
                soonest = min(self._sleepers.values(), default=target + 1)
                self.steady = min(max(soonest, self.steady), target)
                if soonest > target:
                    return
                due = [waker for waker, until in self._sleepers.items() if until <= self.steady]
                for waker in due:
                    del self._sleepers[waker]
                    self.wakes += 1
                    waker.wake()

    def settle(self, *schedulers: Scheduler) -> None:
        """Wait until these schedulers have sent all due tasks and sleep. Raises AssertionError after 60 s."""
        with self._changed:
            asleep = self._changed.wait_for(lambda: len(self._sleepers) >= len(schedulers), REST_TIMEOUT_S)
        if not asleep or not all(scheduler.drain(REST_TIMEOUT_S) for scheduler in schedulers):
            raise AssertionError(f"the schedulers have not sent all due tasks within {REST_TIMEOUT_S:g} s")

    def sleep(self, waker: Waker, seconds: float) -> None:
        """Sleep until ``seconds`` of simulated time have passed, or the waker is woken; clocks wait by this."""
        with self._changed:
            self._sleepers[waker] = self.steady + round(seconds * SECOND)
            self._changed.notify_all()
        waker.wait(REST_TIMEOUT_S)
        with self._changed:
            self._sleepers.pop(waker, None)


class SimulatedClock:
    """The clock of one machine in a SimulatedTime; see :class:`~gearmesh.scheduler.clock.Clock`."""

    def __init__(self, time: SimulatedTime, skew: float = 0.0) -> None:
        self._time = time
        self._skew = round(skew * SECOND)

    def now(self) -> Now:
        return Now(self._time.start_ns + self._time.steady + self._skew, self._time.steady)

    def step(self, seconds: float) -> None:
        """Set the wall clock forward, or back if ``seconds`` is negative. A sleeping scheduler does not notice."""
        self._skew += round(seconds * SECOND)

    def wait(self, waker: Waker, seconds: float) -> None:
        self._time.sleep(waker, seconds)
