"""Messages that this worker cannot run: their task is not registered here, or they cannot be decoded.

The operator finds them in the log, and a caller that waits for the result gets a FAILURE once the message is a dead
letter.
"""

from __future__ import annotations

import difflib
import logging
import threading
import time
from collections.abc import Mapping
from typing import Final

import msgspec

from gearmesh.errors import GearmeshError
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import Commit, Delivery, Outcome, Settle
from gearmesh.units import counted, duration
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, TaskState
from gearmesh.worker.committer import Committer
from gearmesh.worker.runner import Runner
from gearmesh.worker.task_log import about

__all__ = ["UnrunnableMessages"]

log = logging.getLogger("gearmesh.worker")

#: Seconds between two warnings about one name.
WARNING_INTERVAL_S: Final = 60.0
#: The largest number of names whose next warning is remembered; senders may use any number of names.
MAX_NAMES: Final = 1000


class UnrunnableMessages:
    """Makes the Commits for unrunnable messages, and logs each name of an unregistered task once a minute.

    :meth:`park`, :meth:`refuse` and :meth:`report` belong to the intake's thread, :meth:`settled` to the committer's.

    Args:
        backend: the backend in which a waiting caller looks for the state.
        tasks: the registered tasks, by name.
        max_age: seconds after which a message that no worker took becomes a dead letter.
        committer: takes the Commits of tasks whose messages became dead letters.
        runner: makes these Commits.
    """

    def __init__(
        self,
        backend: Backend,
        tasks: Mapping[str, object],
        max_age: float,
        committer: Committer,
        runner: Runner,
    ) -> None:
        self._backend = backend
        self._max_age = max_age
        self._tasks = tasks
        self._committer = committer
        self._runner = runner
        self._lock = threading.Lock()
        #: signatures whose parking is not committed yet, by fetch counter
        self._parking: dict[int, Signature] = {}
        #: UUID and error of undecodable messages that are not dead letters yet, by fetch counter
        self._undecodable: dict[int, tuple[str, str]] = {}
        #: (queue, task name) -> deliveries since the last warning, and when the next one may be logged
        self._names: dict[tuple[str, str], list[float]] = {}

    def park(self, sig: Signature, delivery: Delivery) -> Commit:
        """Make the Commit that parks a message: the broker offers it to other workers, after growing waits."""
        if sig.IgnoreWhenTaskNotRegistered:
            self._count(delivery.queue, sig.Name, "dropped, as their sender asked")
            return Commit(settle=Settle(delivery))
        with self._lock:
            self._parking[delivery.id] = sig
        fate = f"parked, offered to other workers, and become dead letters after {duration(self._max_age)}"
        self._count(delivery.queue, sig.Name, fate)
        return Commit(settle=Settle(delivery, "park", sig.Name, self._max_age))

    def refuse(self, body: bytes, delivery: Delivery, why: Exception) -> Commit:
        """Make the Commit that dead-letters an undecodable message."""
        reason = f"undecodable: {why}"
        uuid = _uuid_of(body)
        extra = {"queue": delivery.queue} | ({"uuid": uuid} if uuid else {})
        log.error("dead letter: the message cannot be decoded: %s", why, extra=extra)
        if uuid:
            with self._lock:
                self._undecodable[delivery.id] = (uuid, f"the message cannot be decoded: {why}")
        return Commit(settle=Settle(delivery, "dead", reason))

    def settled(self, delivery: Delivery, outcome: Outcome) -> None:
        """Follow up a Commit of :meth:`park` or :meth:`refuse`: store a FAILURE if its message is a dead letter now."""
        with self._lock:
            sig = self._parking.pop(delivery.id, None)
            uuid, error = self._undecodable.pop(delivery.id, ("", ""))
        if uuid and outcome == "done" and not self._ended(uuid):
            self._committer.add(Commit(states=(TaskState(TaskUUID=uuid, State=FAILURE, Error=error),)))
        if sig is None or outcome != "expired":
            return
        error = f"no worker has registered the task {sig.Name} within {duration(self._max_age)}"
        log.error("dead letter on %s: %s", delivery.queue, error, extra=about(sig))
        if not self._ended(sig.UUID):
            self._committer.add(self._runner.fail_unrunnable(sig, error))

    def report(self) -> None:
        """Log the warnings that are due."""
        now = time.monotonic()
        for (queue, name), (count, next_at) in list(self._names.items()):
            if now < next_at:
                continue
            if count:
                self._warn(queue, name, int(count), "still parked")
                self._names[queue, name] = [0, now + WARNING_INTERVAL_S]
            else:
                del self._names[queue, name]

    def _count(self, queue: str, name: str, fate: str) -> None:
        found = self._names.get((queue, name))
        if found is not None:
            found[0] += 1
        else:
            self._warn(queue, name, 1, fate)
            if len(self._names) < MAX_NAMES:
                self._names[queue, name] = [0, time.monotonic() + WARNING_INTERVAL_S]

    def _warn(self, queue: str, name: str, count: int, fate: str) -> None:
        log.warning(
            "task %r is not registered in this worker%s: %s from queue %s; its messages are %s",
            name,
            self._hint(name),
            counted(count, "delivery", "deliveries"),
            queue,
            fate,
        )

    def _hint(self, name: str) -> str:
        """Name the registered task that is probably meant: Celery's names have the module in front."""
        short = name.rpartition(".")[2]
        alike = (
            [short] if short in self._tasks else difflib.get_close_matches(name, self._tasks, n=1, cutoff=0.8)
        )
        return f" (but {alike[0]!r} is; @app.task(name=…) gives another name)" if alike else ""

    def _ended(self, uuid: str) -> bool:
        """True if the task has a final state. Another worker may have run a duplicate of the message."""
        errors: tuple[type[BaseException], ...] = (GearmeshError, *self._backend.connection_errors)
        try:
            (state,) = self._backend.read([uuid])
        except errors as exc:
            log.warning("the state of %s could not be read: %s", uuid, exc)
            return False
        return state is not None and state.final


class _Named(msgspec.Struct):
    UUID: str = ""


def _uuid_of(body: bytes) -> str:
    """Return the UUID of a message that is JSON and no signature; ``""``: it has none."""
    try:
        return msgspec.json.decode(body, type=_Named).UUID
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
