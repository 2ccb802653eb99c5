"""A flag that wakes one thread."""

from __future__ import annotations

import threading
from contextlib import suppress

__all__ = ["Wakeup"]


class Wakeup:
    """Wakes the one thread that waits for it; like an Event that a wait clears. It is a bare lock: the interpreter's
    Event makes another lock for each wait, and runs Python code in both threads before the woken one goes on.

    A signal handler may set it. An Event would block the program if the handler ran in the waiting thread while that
    thread had the Event's inner lock.
    """

    __slots__ = ("_unset",)

    def __init__(self) -> None:
        self._unset = threading.Lock()  # released while the flag is set
        self._unset.acquire()

    def set(self) -> None:
        """Set the flag; nothing happens if it is set. Any thread, and any signal handler."""
        with suppress(RuntimeError):
            self._unset.release()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the flag is set, and clear it; return after ``timeout`` seconds if it is not. One thread."""
        if timeout is None:
            self._unset.acquire()
        else:
            self._unset.acquire(timeout=max(0.0, min(timeout, threading.TIMEOUT_MAX)))

    def clear(self) -> None:
        """Clear the flag."""
        self._unset.acquire(blocking=False)
