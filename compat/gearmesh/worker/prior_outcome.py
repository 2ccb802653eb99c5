"""The final state that an earlier run of a redelivered message stored."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from gearmesh.backoff import Backoff
from gearmesh.errors import BackendError
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import Commit, Settle
from gearmesh.wire.gotime import parse
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import PENDING, ZERO_TIME, TaskState
from gearmesh.worker.job import Job

__all__ = ["MAX_DUPLICATE_ATTEMPTS", "PriorOutcome", "PriorOutcomes"]

log = logging.getLogger("gearmesh.worker")

#: Attempts to read a task's state, within 1.5 s, before its message goes back to its queue.
MAX_STATE_READ_RETRIES: Final = 5
#: Attempts, within half a minute, after which a possible duplicate runs though another worker seems to run its task.
MAX_DUPLICATE_ATTEMPTS: Final = 5
#: Nanoseconds by which the clocks of two machines may differ.
MAX_CLOCK_SKEW_NS: Final = 60 * 10**9


class PriorOutcome(msgspec.Struct, frozen=True, gc=False):
    """The final state of a task, and the UUIDs of those follow-ups that have a state of the same run.

    The worker sends these follow-ups again, too. RabbitMQ delivers messages that are not on its disk yet, so a state is
    no proof that the message outlived a RabbitMQ that was killed.
    """

    state: TaskState
    noted: frozenset[str]

    def unwritten(self, states: Sequence[TaskState]) -> tuple[TaskState, ...]:
        """Return the states without the PENDING of follow-ups that may have run since they were sent."""
        return tuple(each for each in states if each.State != PENDING or each.TaskUUID not in self.noted)


class PriorOutcomes:
    """Reads prior outcomes from the result backend, in the thread that runs the job."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def find(self, job: Job) -> PriorOutcome | Commit | None:
        """Return the prior outcome of a task that has ended, or None: run the task.

        Returns a Commit that gives the message back to its queue while the state can't be read, or while another
        worker seems to run the task.
        """
        if not self._backend.keeps:
            return None
        backoff = Backoff()
        while True:
            try:
                return self._find(job)
            except self._backend.connection_errors as exc:
                if backoff.count == MAX_STATE_READ_RETRIES:
                    return Commit(settle=Settle(job.delivery, "head"))
                backoff.log(log, "a redelivered task waits, the result backend is unreachable", exc)
                time.sleep(backoff.next())

    def _find(self, job: Job) -> PriorOutcome | Commit | None:
        (state,) = self._backend.read([job.sig.UUID])
        if state is None or not state.final:
            if _others_first(job, state):
                return Commit(settle=Settle(job.delivery, "tail"))
            # Go's periodic chains have the same UUIDs each time. This task has not ended, so a final state of a
            # follow-up is left over from the run before.
            job.fresh = any(each.final for each in self._after(job.sig))
            return None
        after = self._after(job.sig)
        return PriorOutcome(state, frozenset(each.TaskUUID for each in after if not _older(each, state)))

    def _after(self, sig: Signature) -> list[TaskState]:
        """Read the states of the tasks that follow from a task."""
        uuids = [each.UUID for each in (*(sig.OnSuccess or ()), *(sig.OnError or ())) if each and each.UUID]
        try:
            stored = self._backend.read(uuids) if uuids else []
        except BackendError as exc:  # another program may use that key, which is not this task's fault
            log.warning("the state of a task that follows %s cannot be read: %s", sig.Name, exc)
            return []
        return [state for state in stored if state is not None]


def _older(state: TaskState, parent: TaskState) -> bool:
    """Say whether a follow-up's state is of an earlier run: it was PENDING long before its parent was."""
    if ZERO_TIME in (state.CreatedAt, parent.CreatedAt):  # this backend does not keep the time
        return False
    return parse(state.CreatedAt) + MAX_CLOCK_SKEW_NS < parse(parent.CreatedAt)


def _others_first(job: Job, state: TaskState | None) -> bool:
    """Say whether a message may be a duplicate, and another worker seems to run the first copy.

    Queues keep their order, so a worker received the first copy before this one, and has written a state since. That
    state may also be from a dead worker, or from an earlier delivery of this message, so the attempts are bounded.
    """
    delivery = job.delivery
    if (
        not delivery.duplicate_attempt
        or delivery.duplicate_attempt >= MAX_DUPLICATE_ATTEMPTS
        or delivery.isolate
        or state is None
    ):
        return False
    if state.State != PENDING:
        return True
    # The first copy of a retry has failed meanwhile, and waits for its next try.
    eta = job.sig.ETA
    return eta is not None and state.CreatedAt != ZERO_TIME and parse(state.CreatedAt) >= parse(eta)
