"""The signals that tell a command to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from gearmesh.worker.forked import handle_signals

__all__ = ["StopSignals", "leaving_at_signals", "signals_to_stop"]


def signals_to_stop() -> list[signal.Signals]:
    """Return SIGINT, SIGTERM and SIGHUP: a terminal that closes sends the last one.

    SIGHUP is left out if the process would not die of it: under ``nohup`` it is ignored, and an app may handle it.
    """
    ends = signal.getsignal(signal.SIGHUP) in (signal.SIG_DFL, _leave)
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if ends else [])]


@contextmanager
def leaving_at_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit in the block, as SIGINT raises KeyboardInterrupt: clean-up code runs.

    A :class:`StopSignals` that is made in the block gets the signals instead. Use this in the main thread.
    """
    numbers = [number for number in signals_to_stop() if number is not signal.SIGINT]
    before = {number: signal.signal(number, _leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


class StopSignals:
    """Counts the :func:`signals_to_stop` until :meth:`close`. Make it in the main thread.

    Args:
        on_signal: called for each signal, in a signal handler.
    """

    def __init__(self, on_signal: Callable[[], None]) -> None:
        #: the number of signals that have come
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
        """Count one signal, unless one has come."""
        self.count = max(self.count, 1)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let each signal raise KeyboardInterrupt in the block.

        The block may take long, or never end, as the user's code may. Handlers that it installs are replaced.
        """
        self._interrupts = True
        try:
            if self.count:
                raise KeyboardInterrupt
            yield
        except Exception as exc:
            if (
                self.count
            ):  # interrupted code may raise another error: an extension module that is imported, for one
                raise KeyboardInterrupt from exc
            raise
        finally:
            self._interrupts = False
            self._install()

    def _install(self) -> None:
        self._restore.append(handle_signals(signals_to_stop(), self._handle))

    def _handle(self, number: int, frame: object) -> None:
        self.count += 1
        self._on_signal()
        if self._interrupts:
            raise KeyboardInterrupt
