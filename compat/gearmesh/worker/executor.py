"""The protocol of executors, which take jobs from the intake and hand Commits to the committer."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from gearmesh.worker.job import Job

__all__ = ["Executor", "withdraw"]


class Executor(Protocol):
    """Runs jobs in ``slots`` places, first come first served.

    Attributes:
        slots: how many jobs may run at a time.
    """

    slots: int

    def start(self) -> None:
        """Begin to take jobs."""

    @property
    def waiting(self) -> int:
        """The number of jobs that have not begun."""

    @property
    def wanted(self) -> int:
        """The prefetch: one delivery for each slot, and as many more as will begin within 20 ms."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Run these jobs as soon as slots are free."""

    def take_back(self) -> list[Job]:
        """Withdraw the jobs that have not begun, in their order."""

    def interrupt(self, job: Job, error: Exception) -> None:
        """End a running job with ``error``, as far as that is possible; a job that does not run is left alone.

        Best effort. In a thread an exception of ``error``'s class, which must be constructible without arguments,
        is raised between two instructions of Python code: a C call (``time.sleep``, a socket) ends first.
        A coroutine is cancelled. The task may catch either.
        """

    def hold(self) -> None:
        """Begin no job until :meth:`resume`; running jobs go on."""

    def resume(self) -> None:
        """Begin jobs again. Has no effect without a :meth:`hold` before."""

    def resize(self, slots: int) -> None:
        """Run ``slots`` jobs at a time from now on; at least 1. Running jobs go on, even if there are more.

        Raises:
            ConfigError: the supervisor's scoreboard does not have so many places.
        """

    def stop(self) -> None:
        """Begin no more jobs; those that have not begun stay here. A call before start, or a second one, is fine."""

    def join(self, timeout: float) -> bool:
        """Wait for running jobs; True if all ended within ``timeout`` seconds."""

    def nudge(self) -> None:
        """Correct estimates of how long tasks take. The committer calls this every 25 ms."""


def withdraw(waiting: deque[Job]) -> list[Job]:
    """Take all jobs, in their order, out of a deque from which other threads take jobs, too."""
    back: deque[Job] = deque()
    with suppress(IndexError):
        while True:
            back.appendleft(waiting.pop())
    return list(back)
