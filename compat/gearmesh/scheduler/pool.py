"""Threads for calls that may wait for a server."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Pool"]

log = logging.getLogger("gearmesh.scheduler")


class Pool:
    """Runs calls in at most ``size`` threads, started when calls wait.

    The threads do not keep a process alive.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._changed = threading.Condition()
        self._calls: deque[Callable[[], None]] = deque()
        self._threads = 0
        self._idle = 0
        self._closed = False

    def submit(self, call: Callable[[], None]) -> None:
        """Make the call in a thread soon. An exception that it raises is logged."""
        with self._changed:
            self._calls.append(call)
            if self._idle < len(self._calls) and self._threads < self._size:
                self._threads += 1
                threading.Thread(target=self._run, name="gearmesh-periodic", daemon=True).start()
            self._changed.notify_all()

    def drain(self, timeout: float) -> bool:
        """Wait until no call waits or runs; False if that took longer than ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._calls and self._idle == self._threads, max(0.0, timeout)
            )

    def close(self) -> None:
        """Drop the calls that have not begun, and let the threads end."""
        with self._changed:
            self._closed = True
            self._calls.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._calls or self._closed)
                self._idle -= 1
                if self._closed:
                    self._threads -= 1
                    self._changed.notify_all()
                    return
                call = self._calls.popleft()
            try:
                call()
            except Exception as exc:  # the thread has other calls to make
                log.critical("a periodic task could not be handled: %r", exc, exc_info=True)
