"""The task that is running in this thread or coroutine, kept in a context variable."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Any

import msgspec

from gearmesh.app.capabilities import TaskHost
from gearmesh.errors import TaskError
from gearmesh.habits import CONTEXT, refuse
from gearmesh.wire.expiry import expiry_ns
from gearmesh.wire.signature import Signature

__all__ = ["RUNNING", "TaskContext", "current"]


class TaskContext(msgspec.Struct, eq=False, gc=False):
    """The running task as its own code sees it; :func:`current` returns it.

    It also has the fields of its Signature, under their names on the wire (``current().RetryCount``).

    Attributes:
        signature: the signature as the worker received it.
        app: the app that runs it.
    """

    signature: Signature
    app: TaskHost
    #: The task has reported its progress.
    reported: bool = False
    #: The worker has called the handlers of ``before_task``.
    handled: bool = False

    def __repr__(self) -> str:
        return f"<TaskContext {self.signature.Name} {self.signature.UUID}>"

    def __getattr__(self, name: str) -> Any:
        """A field of the Signature."""
        if name in Signature.__struct_fields__:
            return getattr(self.signature, name)
        refuse(CONTEXT, "a task's request", self, name)

    @property
    def uuid(self) -> str:
        """The task's id; the same in each of its tries."""
        return self.signature.UUID

    @property
    def name(self) -> str:
        """The task's name."""
        return self.signature.Name

    #: Celery's name of :attr:`uuid`.
    id = uuid
    #: Celery's name of :attr:`name`.
    task = name

    @property
    def retries(self) -> int:
        """The number of retries used so far.

        This is the task's own ``retry_count``, minus the retries that the message has left. If the call gave a higher
        ``retry_count``, it stays 0 until the message has fewer left than the task declares.
        """
        task = self.app.tasks.get(self.signature.Name)
        allowed = task.options.retry_count if task is not None else None
        return max(0, (allowed or 0) - self.signature.RetryCount)

    @property
    def eta(self) -> str | None:
        """The time before which no worker runs this try, as RFC 3339; None if the message has no ETA."""
        return self.signature.ETA

    @property
    def expires(self) -> datetime | None:
        """The time after which workers do not start this task; None if it does not expire."""
        at = expiry_ns(self.signature)
        return None if at is None else datetime.fromtimestamp(at / 1e9, timezone.utc)

    @property
    def headers(self) -> Mapping[str, Any]:
        """Its headers as Python values; empty if it has none."""
        return {name: msgspec.json.decode(raw) for name, raw in (self.signature.Headers or {}).items()}

    @property
    def revoked(self) -> bool:
        """True once the task was revoked. It should then end soon. This asks no server."""
        return bool(self.app.revocations.revoked((self.signature.UUID,)))

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Report how far the task is. Callers read the report as ``AsyncResult.progress``.

        This neither waits for a server nor raises if one is unreachable. The process writes the first report at once,
        and further ones at most ten times a second. It writes the last report before the task ends. If the backend
        cannot keep reports, it writes none. Go does not see them.

        Args:
            done: how much is done, in the task's own unit; 0 or more.
            total: how much there is to do; None: not known.
            note: a text for people.

        Raises:
            TaskError: an argument is wrong.
        """
        self.app.progress.tell(self.signature.UUID, done, total, note)
        self.reported = True


#: The code that runs a task sets it (``token = RUNNING.set(context)`` … ``RUNNING.reset(token)``).
RUNNING: ContextVar[TaskContext] = ContextVar("gearmesh.running")


def current() -> TaskContext:
    """The task that is running in this thread or coroutine.

    A thread or coroutine that the task starts knows the task if it runs in a copy of the task's context.

    Raises:
        TaskError: no task is running here.
    """
    try:
        return RUNNING.get()
    except LookupError:
        raise TaskError("current(): no task is running here") from None
