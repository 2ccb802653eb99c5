"""One delivery on its way through a worker, and the thread that runs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from gearmesh.app.eager_limits import raise_in
from gearmesh.app.task import Task
from gearmesh.interfaces.commit import Delivery
from gearmesh.wire.signature import Signature

__all__ = ["InterruptibleThread", "Job"]

#: Seconds between two looks of a thread whose call has ended, while another thread may send it an exception.
SENDING_POLL_INTERVAL_S = 0.0001


class Job(msgspec.Struct, eq=False, gc=False):
    """A decoded delivery whose task is registered here. Times are the monotonic clock's; 0.0: not yet.

    ``shown`` is the last state written for it before it was done: "", RECEIVED or STARTED. ``slot`` belongs to the
    thread that runs it; None: no thread does. ``interrupted`` is the error with which it was interrupted.
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

    A call that is not interrupted costs five uses of attributes and no lock. The interrupting thread sets ``_sending``
    before it reads ``_job``, and the running thread clears ``_job`` before it reads ``_sending``: one of them sees the
    other. A call gets one exception at most: a second one could still come after the first has ended :meth:`_retract`.

    The thread itself never takes the lock: an exception that is sent to it may be raised right after it has, and on
    CPython 3.14 (up to 3.14.7 at least) a ``with`` statement then leaves the lock locked.
    """

    __slots__ = ("_job", "_lock", "_sending", "_sent", "_thread", "cancel", "successes")

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        #: only the interrupting threads take it
        self._lock = threading.Lock()
        self._job: Job | None = None
        #: True while another thread reads ``_job``, and may send an exception
        self._sending = False
        #: True if an exception was sent to the call
        self._sent = False
        #: cancels the coroutine that this thread waits for; None: there is none
        self.cancel: Callable[[], object] | None = None
        #: task name -> successes that this thread counted, see :class:`~.task_log.TaskLog`
        self.successes: dict[str, Any] = {}

    def call(self, job: Job, fn: Callable[..., Any], args: list[Any]) -> Any:
        """Return ``fn(*args)``; until it has returned, :meth:`interrupt` may raise an exception in it."""
        self._sent = False
        self._job = job
        try:
            return fn(*args)
        finally:
            self._job = None
            if self._sending or self._sent:
                self._retract()

    def interrupt(self, job: Job, error: type[BaseException]) -> bool:
        """Raise ``error`` in the thread if it runs ``job``, or cancel its coroutine; True if that was done."""
        with self._lock:
            self._sending = True
            try:
                if self._job is not job:
                    return False
                if job.task.is_async:
                    if self.cancel is not None:
                        self.cancel()
                    return self.cancel is not None
                if self._sent:
                    return True
                self._sent = True
                return raise_in(self._thread, error)
            finally:
                self._sending = False

    def _retract(self) -> None:
        """Take back an exception that was sent too late, before it hits the next job."""
        while self._sending:
            time.sleep(SENDING_POLL_INTERVAL_S)
        if self._sent:
            raise_in(self._thread, None)
