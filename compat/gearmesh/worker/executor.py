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
        """Jobs not begun."""

    @property
    def wanted(self) -> int:
        """The prefetch: one delivery a slot, and as many as will have begun within 20 ms."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Run these jobs as soon as slots are free."""

    def take_back(self) -> list[Job]:
        """Withdraw jobs not begun, in their order."""

    def interrupt(self, job: Job, error: Exception) -> None:
        """End a running job with ``error``, as far as that is possible; a job that does not run is left alone.

        Best effort. In a thread an exception of ``error``'s class, which must be constructible without arguments,
        is raised between two instructions of Python code: a C call (``time.sleep``, a socket) ends first.
        A coroutine is cancelled. The task may catch either.
        """

    def hold(self) -> None:
        """Begin nothing until :meth:`resume`; what runs goes on."""

    def resume(self) -> None:
        """Begin jobs again. Without :meth:`hold` before, nothing happens."""

    def resize(self, slots: int) -> None:
        """Run so many jobs at a time from now on; at least 1. What runs goes on, also beyond that number.

        Raises:
            ConfigError: the supervisor's scoreboard has no room for so many.
        """

    def stop(self) -> None:
        """Begin nothing more; jobs not begun stay where they are. Stopping twice, or before start, is fine."""

    def join(self, timeout: float) -> bool:
        """Wait for running jobs; True if all ended within ``timeout`` seconds."""

    def nudge(self) -> None:
        """Correct estimates of how long tasks take. The committer calls this every 25 ms."""


def withdraw(waiting: deque[Job]) -> list[Job]:
    """Take all jobs out of a deque that others take from too; in their order."""
    back: deque[Job] = deque()
    with suppress(IndexError):
        while True:
            back.appendleft(waiting.pop())
    return list(back)
