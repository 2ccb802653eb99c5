"""The jobs that a worker holds."""

from __future__ import annotations

from gearmesh.worker.job import Job

__all__ = ["JobTable"]


class JobTable(dict[int, Job]):
    """All jobs of a worker, by the fetch counters of their deliveries, in the order in which they were fetched.

    The intake adds a job, and the committer removes it once its delivery is settled; other threads read meanwhile. The
    table is a ``dict`` since adding, removing and counting are done for each task and need no lock: each is one
    operation of the interpreter. Iteration is not, so iterate over a :meth:`snapshot`.
    """

    __slots__ = ()

    def snapshot(self) -> list[Job]:
        """Return the jobs of this moment. Any thread may call it."""
        return list(self.values())

    def running(self) -> list[Job]:
        """Return the jobs that have begun and are not settled."""
        return [job for job in self.snapshot() if job.started_at]
