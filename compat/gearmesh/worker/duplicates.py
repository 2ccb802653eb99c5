"""Possible second copies: messages that let the others of their UUID go first."""

from __future__ import annotations

import random
import time
from collections.abc import Container
from typing import Final, NamedTuple

from gearmesh.worker.job import Job
from gearmesh.worker.job_table import JobTable
from gearmesh.worker.prior_outcome import MAX_DUPLICATE_ATTEMPTS

__all__ = ["DuplicateHold"]

#: Seconds for which a possible second copy lets others go first; doubles with each turn.
FIRST_HOLD_S: Final = 1.0
#: Of those that wait here, how many do not count against what a worker holds.
MAX_EXTRA_HELD_JOBS: Final = 100


class _Waiting(NamedTuple):
    """A job that waits until ``due`` (by the monotonic clock), and while another one of its UUID is here."""

    job: Job
    body: bytes
    due: float


class DuplicateHold:
    """Where they wait, held by this worker and not begun. Belongs to the intake's thread.

    Side by side with another of its UUID a task would run twice, and so would all that follows from both.

    Args:
        jobs: the worker's jobs by fetch counter, those that wait here among them.
    """

    def __init__(self, jobs: JobTable) -> None:
        self._jobs = jobs
        self._waiting: list[_Waiting] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def ids(self) -> set[int]:
        """The fetch counters of those that wait."""
        return {each.job.delivery.id for each in self._waiting}

    @property
    def beside(self) -> int:
        """How many are held that are in nobody's way, since their time has not come."""
        now = time.monotonic()
        return min(MAX_EXTRA_HELD_JOBS, sum(each.due > now for each in self._waiting))

    def due(self, job: Job) -> float:
        """When a job that came just now may begin, by the monotonic clock; 0: it need not wait."""
        delivery = job.delivery
        if delivery.duplicate_attempt and not delivery.isolate and not delivery.overdue:
            # Two copies are not to look at the same moment: both would find that nobody is at it.
            return (
                job.received_at
                + FIRST_HOLD_S * 2.0 ** (min(delivery.duplicate_attempt, MAX_DUPLICATE_ATTEMPTS) - 1)
                + random.uniform(0, FIRST_HOLD_S)
            )
        if delivery.redelivered and any(other.sig.UUID == job.sig.UUID for other in self._jobs.snapshot()):
            return job.received_at
        return 0.0

    def add(self, job: Job, body: bytes, due: float) -> None:
        """Let this one wait, with its message."""
        self._waiting.append(_Waiting(job, body, due))

    def pause(self, longest: float) -> float:
        """Seconds until the next one's time comes; ``longest`` at the most."""
        now = time.monotonic()
        return min(
            (each.due - now for each in self._waiting if now < each.due < now + longest), default=longest
        )

    def begin(self, wanted: int) -> list[tuple[Job, bytes]]:
        """Those whose time has come, and whose twin is settled: they find out what became of it.

        Not before there is a slot, of ``wanted``: given back, a job would have to wait anew.
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
        """Withdraw those with these fetch counters; None: all."""
        back = [each.job for each in self._waiting if orphaned is None or each.job.delivery.id in orphaned]
        self._waiting = (
            [] if orphaned is None else [x for x in self._waiting if x.job.delivery.id not in orphaned]
        )
        return back
