"""The protocol of observers, which see the life of tasks in a worker process: metrics, traces, history.

A worker without observers pays nothing for them. The thread that commits calls :meth:`TaskObserver.flushed` once a
batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from gearmesh.interfaces.commit import Commit, Delivery, Outcome
from gearmesh.wire.signature import Signature

__all__ = ["Flush", "ObservedJob", "TaskObserver"]


class ObservedJob(Protocol):
    """A delivery that a worker holds. Times are of the monotonic clock; 0.0: it has not happened yet.

    Attributes:
        sig: its signature.
        delivery: the delivery.
        received_at: when the worker got it.
        started_at, ended_at: when its task began, and returned or raised.
        ended_before: another delivery of this message has stored a final state: the task was not run again.
    """

    @property
    def sig(self) -> Signature: ...
    @property
    def delivery(self) -> Delivery: ...
    @property
    def received_at(self) -> float: ...
    @property
    def started_at(self) -> float: ...
    @property
    def ended_at(self) -> float: ...
    @property
    def ended_before(self) -> bool: ...


class Flush(msgspec.Struct, frozen=True, gc=False):
    """Commits that a worker has flushed together.

    Attributes:
        items: the Commits, each with the job that it belongs to; None: it belongs to no task that ran here.
        outcomes: the outcome of each item, in the same order.
        seconds: the time that broker and backend took.
        repeated: True if an earlier try got no answer. That try may have settled some of the deliveries: their outcome
            is now ``lost``.
    """

    items: Sequence[tuple[Commit, ObservedJob | None]]
    outcomes: Sequence[Outcome]
    seconds: float
    repeated: bool = False


class TaskObserver:
    """Sees the life of tasks in a worker, and does nothing itself.

    Override the methods that you need. The worker logs an observer's exceptions, and goes on.
    """

    def begins(self, job: ObservedJob) -> object:
        """A job is about to run, in the thread or the asyncio task of this call.

        The worker passes the returned value to :meth:`ended`.
        """
        return None

    def ended(self, begun: object, job: ObservedJob, commit: Commit) -> None:
        """The job has ended, in the same thread or asyncio task.

        The worker will send ``commit``, which holds the job's changes, to the servers.
        """

    def flushed(self, flush: Flush) -> None:
        """The worker has sent Commits to the servers.

        The thread that commits calls this, so be quick: some microseconds for each Commit.
        """

    def stalled(self) -> None:
        """Commits have begun to wait for a server that is unreachable."""
