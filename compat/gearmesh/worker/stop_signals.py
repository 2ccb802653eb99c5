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
        self._restore = handle_signals((signal.SIGINT, signal.SIGTERM), self._handle)

    def close(self) -> None:
        """Install the earlier handlers again."""
        self._restore()

    def stop(self) -> None:
        """Count as one signal, unless one has come."""
        self.count = max(self.count, 1)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let each signal raise KeyboardInterrupt in the block: code of the user's, which may never end, runs there."""
        self._interrupts = True
        try:
            if self.count:
                raise KeyboardInterrupt
            yield
        finally:
            self._interrupts = False

    def _handle(self, number: int, frame: object) -> None:
        self.count += 1
        self._on_signal()
        if self._interrupts:
            raise KeyboardInterrupt
