"""A thread's place to run one call at a time, into which another thread may raise an exception."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gearmesh.worker.job import Job

__all__ = ["InterruptibleThread"]


class InterruptibleThread:
    """Belongs to the thread that made it; :meth:`interrupt` is for the others.

    A call that is not interrupted pays for three attributes and no lock. Who interrupts says so (``_sent``) before
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
        """``fn(*args)``, open to interruption; for a coroutine function, what waits for its coroutine."""
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
            return _raise_in(self._thread, error)

    def _retract(self) -> None:
        """An exception sent too late must not hit what runs next."""
        with self._lock:
            if self._sent:
                self._sent = False
                _raise_in(self._thread, None)


def _raise_in(thread: int, error: type[BaseException] | None) -> bool:
    """Raise in a thread at its next instruction; None takes back what was not raised yet."""
    found: int = ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), None if error is None else ctypes.py_object(error)
    )
    return found > 0
