"""The signals that tell a worker to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gearmesh.worker.forked import handle_signals

__all__ = ["StopSignals"]


class StopSignals:
    """Counts SIGINT and SIGTERM from its making until :meth:`close`. To be made in the main thread.

    Args:
        on_signal: called for each, in a signal handler.
    """

    def __init__(self, on_signal: Callable[[], None]) -> None:
        #: how many have come
        self.count = 0
        self._on_signal = on_signal
        self._interrupts = False
        self._restore: list[Callable[[], None]] = []
        self._install()

    def close(self) -> None:
        """Install the earlier handlers again."""
        while self._restore:
            self._restore.pop()()

    def stop(self) -> None:
        """Count as one signal, unless one has come."""
        self.count = max(self.count, 1)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let each signal raise KeyboardInterrupt in the block.

        Code of the user's runs there, which may never end. If it installs handlers of its own, they are replaced.
        """
        self._interrupts = True
        try:
            if self.count:
                raise KeyboardInterrupt
            yield
        finally:
            self._interrupts = False
            self._install()

    def _install(self) -> None:
        self._restore.append(handle_signals((signal.SIGINT, signal.SIGTERM), self._handle))

    def _handle(self, number: int, frame: object) -> None:
        self.count += 1
        self._on_signal()
        if self._interrupts:
            raise KeyboardInterrupt
