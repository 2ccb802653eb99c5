"""What is known of a message that may have been run before, and what becomes of it therefore."""

from __future__ import annotations

import logging
import time
from typing import Final

import msgspec

from gearmesh.backends.base import Backend
from gearmesh.pauses import Pauses
from gearmesh.wire.commit import Commit, Settle
from gearmesh.wire.gotime import format_ns
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import PENDING, TaskState
from gearmesh.worker.job import Job

__all__ = ["History", "Past"]

log = logging.getLogger("gearmesh.worker")

#: How often a task's state is asked for, within 1.5 s, before its message goes back.
TRIES: Final = 5
#: Turns after which a possible second copy is run though somebody else seems to be at it: a minute.
TURNS: Final = 6


class Past(msgspec.Struct, frozen=True, gc=False):
    """A task that had ended, with what is stored of it and of what follows from it, by UUID."""

    state: TaskState
    after: dict[str, TaskState]

    def came(self, sig: Signature) -> bool:
        """This one, which follows from it, was sent, and somebody has got it."""
        stored = self.after.get(sig.UUID)
        return stored is not None and stored.State != PENDING

    def noted(self, sig: Signature) -> bool:
        """Its state is there."""
        return sig.UUID in self.after


class History:
    """Asks the result backend. Used in whatever thread runs the job."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def look(self, job: Job) -> Past | Commit | None:
        """Its past if it has ended; what becomes of its message for now; None: it is to be run.

        While nobody can say, the message goes back and comes again.
        """
        if not self._backend.keeps:
            return None
        pauses = Pauses()
        while True:
            try:
                return self._look(job)
            except self._backend.connection_errors as exc:
                if pauses.count == TRIES:
                    return Commit(settle=Settle(job.delivery, "head"))
                pauses.log(log, "a redelivered task waits for the result backend", exc)
                time.sleep(pauses.next())

    def _look(self, job: Job) -> Past | Commit | None:
        sig = job.sig
        following = {
            each.UUID: each for each in (*(sig.OnSuccess or ()), *(sig.OnError or ())) if each and each.UUID
        }
        state, *others = self._backend.read([sig.UUID, *following])
        after = {uuid: each for uuid, each in zip(following, others, strict=True) if each is not None}
        if state is not None and state.final:
            return Past(state, after)
        if _others_first(job, state):
            return Commit(settle=Settle(job.delivery, "tail"))
        # Go's periodic chains have the same UUIDs each time. What follows from a task that has not ended can't have:
        # that is a result of last time, and would be taken for one of this time.
        stale = [following[uuid] for uuid, each in after.items() if each.final] if state is not None else []
        if stale:
            created = format_ns(time.time_ns())
            self._backend.write(
                [
                    TaskState(TaskUUID=each.UUID, TaskName=each.Name, State=PENDING, CreatedAt=created)
                    for each in stale
                ]
            )
        return None


def _others_first(job: Job, state: TaskState | None) -> bool:
    """It may be a second copy, and whoever has the first one is at it.

    Queues are in order, so the first one was handed out before this one came, and has shown in its state since. What is
    in that state may be of one who is dead, though; or of this very message, if it was lost before.
    """
    delivery = job.delivery
    if not delivery.turn or delivery.redelivered > 1 or state is None:
        return False
    return state.State != PENDING and delivery.turn < TURNS
