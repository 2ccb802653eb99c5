"""The events that the intake and the committer report to their worker."""

from __future__ import annotations

from gearmesh.interfaces.commit import Delivery, Outcome

__all__ = ["WorkerEvents"]


class WorkerEvents:
    """Receives the events, in the thread that reports them, and does nothing; a worker overrides the methods."""

    def may_take(self) -> bool:
        """Say whether the intake may fetch. The intake asks before each fetch."""
        return True

    def intake_failed(self, error: BaseException) -> None:
        """The intake's thread has ended because of ``error``."""

    def flushed(self) -> None:
        """The committer has flushed Commits, so the intake may have room for more deliveries."""

    def tick(self) -> None:
        """The committer calls this every 25 ms while the worker has jobs."""

    def stalled(self, stalled: bool) -> None:
        """Commits begin to wait for a server, or wait no more.

        A worker should begin no tasks meanwhile: if its process is killed, only the running tasks are then repeated.
        """

    def removed(self, delivery: Delivery, outcome: Outcome) -> None:
        """The committer has flushed a Commit that parks a message or dead-letters it, with this outcome."""
