"""The pipe by which a supervisor gives a child process orders. A pipe that closes tells the child that it died."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

__all__ = ["ControlPipe", "follow", "wait_to_begin"]

#: An empty line is the order to stop.
_STOP = b"\n"


class ControlPipe:
    """The supervisor's end of the pipe to one child process.

    It is not the child's standard input: tasks, and the programs they start, read that. An order is one line.

    Attributes:
        child_end: the descriptor that the child inherits and gives to :func:`follow`.
    """

    def __init__(self) -> None:
        self.child_end, self._write_end = os.pipe()
        self._unsent = b""
        # A child that is stopped reads nothing, and the supervisor must not wait for it.
        os.set_blocking(self._write_end, False)

    def started(self) -> None:
        """Close the child's end in this process, once the child has its own copy."""
        os.close(self.child_end)

    def begin(self, broker: int) -> None:
        """Let a child that waits in :func:`wait_to_begin` go on. Call it before all orders.

        Args:
            broker: the number of the broker to try first, of several.
        """
        self._write(b"%d\n" % broker)

    def stop(self) -> None:
        """Tell the child to stop; the second time, to stop at once. Nothing happens if it has ended."""
        self._write(_STOP)

    def order(self, line: bytes) -> None:
        """Give the child another order."""
        self._write(line + b"\n")

    def close(self) -> None:
        """Close this end. A child that still runs takes it for the supervisor's death."""
        os.close(self._write_end)

    def _write(self, line: bytes) -> None:
        """Write as much as the pipe takes; the rest is written before the next order."""
        self._unsent += line
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            self._unsent = self._unsent[os.write(self._write_end, self._unsent) :]


def wait_to_begin(descriptor: int) -> int | None:
    """Wait for the supervisor's first line, and leave the lines after it to :func:`follow`.

    Args:
        descriptor: the child's end of the pipe.

    Returns:
        The number of the broker to try first; None: the supervisor has died, or its first order is to stop.
    """
    line = b""
    while (character := os.read(descriptor, 1)) not in (b"", b"\n"):
        line += character
    return int(line) if character and line else None


def follow(
    descriptor: int,
    stop: Callable[[], None],
    orphaned: Callable[[], None],
    order: Callable[[bytes], None] = lambda line: None,
) -> None:
    """Follow the supervisor's orders in a thread of its own.

    Args:
        descriptor: the child's end of the pipe. Programs that this process starts do not inherit it.
        stop: called for each order to stop.
        orphaned: called once, when the supervisor has died.
        order: called with each other order.
    """
    os.set_inheritable(descriptor, False)

    def read() -> None:
        rest = b""
        while orders := os.read(descriptor, 4096):
            *lines, rest = (rest + orders).split(b"\n")
            for line in lines:
                order(line) if line else stop()
        orphaned()

    threading.Thread(target=read, name="gearmesh-parent", daemon=True).start()
