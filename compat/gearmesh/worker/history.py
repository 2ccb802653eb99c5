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
#: Seconds for which a possible second copy lets others go first; doubles with each turn.
TURN: Final = 1.0
#: Turns after which it is run though somebody else seems to be at it: 8 minutes and a half.
TURNS: Final = 10


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
            at_ns = time.time_ns() + int(TURN * 2 ** (job.delivery.turn - 1) * 1e9)
            return Commit(settle=Settle(job.delivery, "later", at_ns=at_ns))
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
    """It may be a second copy: then whoever has the first one is to end before.

    Queues are in order, so the first one was handed out before this one was met; a moment later it shows in its state.
    A state that says that somebody is at it may be of one who is dead, or that this very message was lost before.
    """
    turn, lost = job.delivery.turn, job.delivery.redelivered > 1
    if not turn:
        return False
    at_it = state is not None and state.State != PENDING and not lost
    return turn < (TURNS if at_it else 2)
