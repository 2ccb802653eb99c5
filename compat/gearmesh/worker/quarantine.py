"""Isolated messages, which ran when a process died. Each runs alone, so that no neighbour is blamed.

A message that is likely to have killed a process while it ran alone returns to the tail of its queue before each
further attempt: it delays the messages that arrive meanwhile, and not those that were there before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gearmesh.scoreboard import Scoreboard
from gearmesh.worker.executor import Executor
from gearmesh.worker.job import Job
from gearmesh.worker.job_table import JobTable

__all__ = ["MAX_CRASHES", "Quarantine"]

#: The number of deaths of processes in which a message ran alone, after which the message is dead-lettered.
MAX_CRASHES = 3

#: From this crash count on, a message lets others go first. One kill that may have another cause (a quarter) is not
#: enough: the message is most likely not to blame, and would wait behind the whole backlog.
MIN_CRASHES_TO_DEFER = 0.5


class Quarantine:
    """Runs isolated jobs one by one: no other job begins while one waits, and the worker holds no other once it runs.

    If the process dies without a scoreboard, a message that it held alone is still known to have run.
    Belongs to the intake's thread.

    Args:
        put_back: returns jobs to the head of their queues.
        scoreboard: shows the supervisor when an isolated job begins to run; None: no supervisor.
    """

    def __init__(
        self,
        jobs: JobTable,
        executor: Executor,
        put_back: Callable[[Sequence[Job]], None],
        scoreboard: Scoreboard | None = None,
    ) -> None:
        self._jobs = jobs
        self._executor = executor
        self._put_back = put_back
        self._scoreboard = scoreboard
        self._isolated: list[Job] = []
        #: UUIDs of isolated jobs that have let others go first. A death ends this process, too, and with it this set:
        #: so a job does so once for each death.
        self._deferred: set[str] = set()
        self._alone: Job | None = None

    @property
    def busy(self) -> bool:
        """True while an isolated job waits or runs; the intake then fetches nothing."""
        return bool(self._isolated) or (self._alone is not None and self._alone.delivery.id in self._jobs)

    def defers(self, job: Job) -> bool:
        """Say whether this isolated job has to let others go first: it must return to the tail of its queue, once."""
        uuid = job.sig.UUID
        if (job.delivery.crash_count or 0) < MIN_CRASHES_TO_DEFER or not uuid or uuid in self._deferred:
            return False
        self._deferred.add(uuid)
        return True

    def add(self, job: Job) -> None:
        """Run this job alone."""
        self._isolated.append(job)

    def take_back(self) -> list[Job]:
        """Withdraw the isolated jobs that were not begun."""
        back, self._isolated = self._isolated, []
        return back

    def step(self) -> None:
        """Begin the next isolated job as soon as nothing else is held."""
        if not self._isolated:
            return
        waiting = self._executor.take_back() + self._isolated[1:]
        del self._isolated[1:]
        if waiting:
            self._put_back(sorted(waiting, key=lambda job: job.delivery.id))
        if len(self._jobs) <= 1:
            self._alone = self._isolated.pop()
            if self._scoreboard is not None:
                self._scoreboard.alone()
            self._executor.submit([self._alone])
