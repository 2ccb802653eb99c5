"""The pipe by which a supervisor stops a child process. Its end tells the child that the supervisor died."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

__all__ = ["ControlPipe", "follow"]

_STOP = b"\n"


class ControlPipe:
    """The supervisor's end of the pipe to one child process.

    It is not the child's standard input: tasks, and the programs they start, read that.

    Attributes:
        child_end: the descriptor that the child inherits and gives to :func:`follow`.
    """

    def __init__(self) -> None:
        self.child_end, self._write_end = os.pipe()

    def started(self) -> None:
        """Close the child's end in this process, once the child has its own copy."""
        os.close(self.child_end)

    def stop(self) -> None:
        """Tell the child to stop; the second time, to stop at once. Nothing happens if it has ended."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._write_end, _STOP)

    def close(self) -> None:
        """Close this end. A child that still runs takes it for the supervisor's death."""
        os.close(self._write_end)


def follow(descriptor: int, stop: Callable[[], None], orphaned: Callable[[], None]) -> None:
    """Follow the supervisor's orders in a thread of its own.

    Args:
        descriptor: the child's end of the pipe. Programs that this process starts do not inherit it.
        stop: called for each order to stop.
        orphaned: called once, when the supervisor has died.
    """
    os.set_inheritable(descriptor, False)

    def read() -> None:
        while orders := os.read(descriptor, 4096):
            for _ in orders:
                stop()
        orphaned()

    threading.Thread(target=read, name="gearmesh-parent", daemon=True).start()
