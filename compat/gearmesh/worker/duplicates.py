"""Possible duplicates: messages that wait until other deliveries of their UUID are settled."""

from __future__ import annotations

import random
import time
from collections.abc import Container
from typing import Final, NamedTuple

from gearmesh.worker.job import Job
from gearmesh.worker.job_table import JobTable
from gearmesh.worker.prior_outcome import MAX_DUPLICATE_ATTEMPTS

__all__ = ["DuplicateHold"]

#: Seconds for which a possible duplicate waits at first; doubles with each attempt.
FIRST_HOLD_S: Final = 1.0
#: The largest number of waiting duplicates that do not count against the worker's prefetch.
MAX_EXTRA_HELD_JOBS: Final = 100


class _Waiting(NamedTuple):
    """A job that waits until ``due`` (by the monotonic clock), and while the worker holds another job of its UUID."""

    job: Job
    body: bytes
    due: float


class DuplicateHold:
    """Keeps possible duplicates back, unacked and not begun. Belongs to the intake's thread.

    If two copies ran at the same time, the task and all tasks that follow from it would run twice.

    Args:
        jobs: the worker's jobs, those that wait here among them.
    """

    def __init__(self, jobs: JobTable) -> None:
        self._jobs = jobs
        self._waiting: list[_Waiting] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def ids(self) -> set[int]:
        """The fetch counters of the jobs that wait."""
        return {each.job.delivery.id for each in self._waiting}

    @property
    def extra(self) -> int:
        """The number of waiting jobs that are not due, so that the worker may hold as many others."""
        now = time.monotonic()
        return min(MAX_EXTRA_HELD_JOBS, sum(each.due > now for each in self._waiting))

    def due(self, job: Job) -> float:
        """Return when a job that was just fetched may begin, by the monotonic clock; 0: at once."""
        delivery = job.delivery
        if delivery.duplicate_attempt and not delivery.isolate and not delivery.overdue:
            # Two copies must not read the state at the same moment: both would find that no worker runs the task.
            return (
                job.received_at
                + FIRST_HOLD_S * 2.0 ** (min(delivery.duplicate_attempt, MAX_DUPLICATE_ATTEMPTS) - 1)
                + random.uniform(0, FIRST_HOLD_S)
            )
        if (delivery.redelivered or delivery.republished) and any(
            other.sig.UUID == job.sig.UUID for other in self._jobs.snapshot()
        ):
            return job.received_at
        return 0.0

    def add(self, job: Job, body: bytes, due: float) -> None:
        """Keep a job back until ``due``, with its message."""
        self._waiting.append(_Waiting(job, body, due))

    def pause(self, longest: float) -> float:
        """Return the seconds until the next job is due, and not more than ``longest``."""
        now = time.monotonic()
        return min(
            (each.due - now for each in self._waiting if now < each.due < now + longest), default=longest
        )

    def begin(self, wanted: int) -> list[tuple[Job, bytes]]:
        """Withdraw the jobs that are due and whose other copies are settled.

        The worker then holds at most ``wanted`` jobs: a job that it gave back would have to wait again.
        """
        waiting, self._waiting = self._waiting, []
        ids = {each.job.delivery.id for each in waiting}
        here = {job.sig.UUID for job in self._jobs.snapshot() if job.delivery.id not in ids}
        room = wanted - (len(self._jobs) - len(waiting))
        now = time.monotonic()
        begun = []
        for each in waiting:
            if room <= 0 or each.due > now or each.job.sig.UUID in here:
                self._waiting.append(each)
            else:
                room -= 1
                here.add(each.job.sig.UUID)
                each.job.received_at = now  # it has not waited for a slot
                begun.append((each.job, each.body))
        return begun

    def take_back(self, orphaned: Container[int] | None = None) -> list[Job]:
        """Withdraw the jobs with these fetch counters; None: all jobs."""
        back = [each.job for each in self._waiting if orphaned is None or each.job.delivery.id in orphaned]
        self._waiting = (
            [] if orphaned is None else [x for x in self._waiting if x.job.delivery.id not in orphaned]
        )
        return back
