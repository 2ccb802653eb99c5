"""One delivery on its way through a worker, and the thread that runs it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec

from gearmesh.app.eager_limits import raise_in
from gearmesh.app.task import Task
from gearmesh.interfaces.commit import Delivery
from gearmesh.wire.signature import Signature

__all__ = ["InterruptibleThread", "Job"]


class Job(msgspec.Struct, eq=False, gc=False):
    """A decoded delivery whose task is registered here. Times are the monotonic clock's; 0.0: not yet.

    ``shown`` is the last state written for it before it was done: "", RECEIVED or STARTED. ``slot`` is the thread's
    that runs it, where a thread does. ``interrupted`` is the error with which it was told to end.
    ``logged``: its lines are logged, see :class:`~.task_log.TaskLog`.
    ``fresh``: see :class:`~gearmesh.interfaces.commit.Commit`.
    ``ended_before``: another delivery of this message, or its other copy, has stored a final state.
    """

    sig: Signature
    task: Task[..., Any, Any]
    delivery: Delivery
    received_at: float
    started_at: float = 0.0
    ended_at: float = 0.0
    shown: str = ""
    slot: InterruptibleThread | None = None
    interrupted: Exception | None = None
    fresh: bool = False
    logged: bool = False
    ended_before: bool = False


class InterruptibleThread:
    """Runs calls in the thread that made it; :meth:`interrupt` is for other threads.

    A call that is not interrupted pays for three attributes and no lock. The interrupting thread sets ``_sent`` before
    it looks at what runs, and the thread clears what runs before it looks at ``_sent``: one of them sees the other.
    """

    __slots__ = ("_job", "_lock", "_sent", "_thread", "cancel", "successes")

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._sent = False
        #: cancels the coroutine this thread waits for, if it does
        self.cancel: Callable[[], object] | None = None
        #: task name -> successes that this thread counted, see :class:`~.task_log.TaskLog`
        self.successes: dict[str, Any] = {}

    def call(self, job: Job, fn: Callable[..., Any], args: list[Any]) -> Any:
        """Return ``fn(*args)``; until it has returned, :meth:`interrupt` may raise an exception in it."""
        self._job = job
        try:
            return fn(*args)
        finally:
            self._job = None
            if self._sent:
                self._retract()

    def interrupt(self, job: Job, error: type[BaseException]) -> bool:
        """Raise ``error`` in the thread if it runs ``job``, or cancel its coroutine; True if that was done."""
        with self._lock:
            self._sent = True
            if self._job is not job:
                self._sent = False
                return False
            if job.task.is_async:
                self._sent = False
                if self.cancel is not None:
                    self.cancel()
                return self.cancel is not None
            return raise_in(self._thread, error)

    def _retract(self) -> None:
        """Take back an exception that was sent too late, before it hits the next job."""
        with self._lock:
            if self._sent:
                self._sent = False
                raise_in(self._thread, None)
