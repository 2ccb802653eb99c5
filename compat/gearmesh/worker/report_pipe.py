"""The pipe by which a worker process reports to its supervisor."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

import msgspec

from gearmesh.metrics.report import Report, decode_report

__all__ = ["ReportPipe"]

log = logging.getLogger("gearmesh.supervisor")


class ReportPipe:
    """The supervisor's end of the pipe from one child process.

    Attributes:
        child_end: the descriptor that the child inherits and gives to its :class:`~.reporter.Reporter`.
    """

    def __init__(self) -> None:
        self._read_end, self.child_end = os.pipe()
        self._thread: threading.Thread | None = None

    def started(self) -> None:
        """Close the child's end in this process, once the child has its own copy."""
        os.close(self.child_end)

    def discard(self) -> None:
        """Close this end, if no child was started."""
        os.close(self._read_end)

    def follow(self, take: Callable[[Report], None], ended: Callable[[], None]) -> None:
        """Give all reports to ``take``, in a thread of its own, and call ``ended`` after the last one."""

        def read() -> None:
            with open(self._read_end, "rb") as lines:
                for line in lines:
                    try:
                        take(decode_report(line))
                    except msgspec.DecodeError as exc:  # the process died while it wrote
                        log.debug("a report of a worker process cannot be read: %s", exc)
            ended()

        self._thread = threading.Thread(target=read, name="gearmesh-reports", daemon=True)
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait, for ``timeout`` seconds at most, until the last report of a process that has ended was taken."""
        if self._thread is not None:
            self._thread.join(timeout)
