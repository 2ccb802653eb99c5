"""The protocol of observers, which see the life of tasks in a worker process: metrics, traces, history.

A worker without observers pays nothing for them. One that observes flushes only is called once a batch, by the thread
that commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from gearmesh.interfaces.commit import Commit, Delivery, Outcome
from gearmesh.wire.signature import Signature

__all__ = ["Flush", "ObservedJob", "TaskObserver"]


class ObservedJob(Protocol):
    """A delivery in a worker's hands. Times are the monotonic clock's; 0.0: not yet.

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
        outcomes: one for each of them.
        seconds: the time that broker and backend took.
        repeated: an earlier try had no answer: a delivery that is ``lost`` may have been settled by that one.
    """

    items: Sequence[tuple[Commit, ObservedJob | None]]
    outcomes: Sequence[Outcome]
    seconds: float
    repeated: bool = False


class TaskObserver:
    """Sees the life of tasks, and does nothing; an observer overrides methods. What one raises is logged."""

    def begins(self, job: ObservedJob) -> object:
        """A job is about to run, in the thread or the asyncio task of this call. What this returns, ``ended`` gets."""
        return None

    def ended(self, begun: object, job: ObservedJob, commit: Commit) -> None:
        """The job is over, in the same thread or asyncio task, and ``commit`` will be flushed."""

    def flushed(self, flush: Flush) -> None:
        """Commits have been flushed. The committer's thread calls this, so it should take microseconds a Commit."""

    def stalled(self) -> None:
        """Commits have begun to wait for a server that is unreachable."""
