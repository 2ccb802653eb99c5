"""A thread that is started once, told to stop, and joined."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Service"]


class Service:
    """Runs a function in a daemon thread of its own.

    A second start or stop does nothing, and neither does a start after a stop. Any thread may call the methods.

    Args:
        name: the thread's name.
        run: the function. It returns soon after :attr:`stopping` is set.
        wake: a function that each :meth:`stop` calls. It ends waits of ``run`` for anything but :attr:`stopping`.

    Attributes:
        stopping: set by :meth:`stop`.
    """

    def __init__(self, name: str, run: Callable[[], None], wake: Callable[[], None] = lambda: None) -> None:
        self._thread = threading.Thread(target=run, name=name, daemon=True)
        self._wake = wake
        self._lock = threading.Lock()
        self.stopping = threading.Event()

    @property
    def started(self) -> bool:
        """True once the thread was started, also after its end."""
        return self._thread.ident is not None

    def start(self) -> None:
        """Start the thread."""
        with self._lock:
            if not self.started and not self.stopping.is_set():
                self._thread.start()

    def stop(self, timeout: float = 0.0) -> bool:
        """Tell the function to return, and :meth:`join`."""
        with self._lock:
            self.stopping.set()
        self._wake()
        return self.join(timeout)

    def join(self, timeout: float) -> bool:
        """Wait for the thread's end.

        Args:
            timeout: seconds to wait; 0: do not wait.

        Returns:
            True if the thread does not run: it has ended, or was never started.
        """
        if self.started and self._thread is not threading.current_thread():
            self._thread.join(max(0.0, timeout))
        return not self._thread.is_alive()
