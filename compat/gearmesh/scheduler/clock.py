"""Two clocks, and a wait that can be cut short."""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

__all__ = ["Clock", "Now", "SystemClock", "Waker"]

#: Linux's CLOCK_BOOTTIME goes on while the machine sleeps. Otherwise a sleep would look like a step of the wall clock.
_MONOTONIC_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
#: Nanoseconds that reading two clocks one after the other may take.
_MAX_CLOCK_READ_NS: Final = 50_000_000


class Now(NamedTuple):
    """A moment on two clocks, in nanoseconds: the wall clock, which may be set, and the steady clock, which may not."""

    wall: int
    steady: int


class Clock(Protocol):
    """Tells a scheduler the time, and lets it wait."""

    def now(self) -> Now:
        """Return this moment on both clocks."""

    def wait(self, waker: Waker, seconds: float) -> None:
        """Return after ``seconds``, or when ``waker`` is woken."""


class SystemClock:
    """Reads the wall clock and the steady clock of this machine."""

    def now(self) -> Now:
        while True:
            before = time.clock_gettime_ns(_MONOTONIC_CLOCK)
            wall = time.time_ns()
            after = time.clock_gettime_ns(_MONOTONIC_CLOCK)
            if after - before < _MAX_CLOCK_READ_NS:  # else the process was stopped in between
                return Now(wall, after)

    def wait(self, waker: Waker, seconds: float) -> None:
        waker.wait(seconds)


class Waker:
    """Wakes a sleeping thread through a pipe, from any thread and from signal handlers."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        for end in (self._out, self._in):
            os.set_blocking(end, False)

    def wake(self) -> None:
        """End the wait that is under way, or else the next one. After :meth:`close` it does nothing."""
        with suppress(BlockingIOError, OSError):  # the pipe is full, so the thread wakes anyway
            os.write(self._in, b"!")

    def wait(self, seconds: float) -> None:
        """Sleep for ``seconds``, or until :meth:`wake`."""
        ready, _, _ = select.select([self._out], [], [], max(0.0, seconds))
        if ready:
            with suppress(BlockingIOError):
                while os.read(self._out, 4096):
                    pass

    def close(self) -> None:
        """Close the pipe. Closing twice is fine."""
        ends = (self._out, self._in)
        self._out = self._in = -1
        for end in ends:
            if end >= 0:
                os.close(end)
