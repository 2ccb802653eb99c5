"""Reports the counts of a worker process since its last report, and its running tasks, to its supervisor."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from gearmesh.metrics.report import Report, RunningTask, encode_report
from gearmesh.metrics.tally import Tally
from gearmesh.service import Service
from gearmesh.worker.worker import Worker

__all__ = ["REPORT_INTERVAL_S", "Reporter"]

#: Seconds between two reports.
REPORT_INTERVAL_S: Final = 1.0
#: Running tasks that a report names.
MAX_NAMED_TASKS: Final = 50


class Reporter:
    """Writes reports into a pipe, in a thread of its own.

    Args:
        descriptor: the child's end of the supervisor's :class:`~.report_pipe.ReportPipe`. Programs and processes that
            tasks start do not inherit it.
        worker: the worker of this process.
        tally: counts its tasks; None: they are not counted.
        memory: returns the bytes of resident memory.
    """

    def __init__(
        self, descriptor: int, worker: Worker, tally: Tally | None, memory: Callable[[], int]
    ) -> None:
        os.set_inheritable(descriptor, False)
        os.register_at_fork(after_in_child=self._release)
        self._descriptor = descriptor
        self._worker = worker
        self._tally = tally
        self._memory = memory
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._service = Service("gearmesh-report", self._loop, self._news.set)

    def start(self) -> None:
        """Begin to report."""
        self._service.start()

    def stop(self) -> None:
        """Send the last report, if the supervisor takes it within a second, and end the thread."""
        self._service.stop(1.0)

    def _release(self) -> None:
        """Close the pipe in a forked process. Not again in its own forks, where another file may have the number."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _loop(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # the supervisor is gone
            while not self._service.stopping.is_set():
                self._report()
                if self._worker.ready.is_set():
                    self._news.wait(REPORT_INTERVAL_S)
                else:
                    self._worker.ready.wait(REPORT_INTERVAL_S)
            self._report()

    def _report(self) -> None:
        line = encode_report(self._now())
        while line:
            line = line[os.write(self._descriptor, line) :]

    def _now(self) -> Report:
        report = Report() if self._tally is None else self._tally.take(self._worker.take_reaped())
        worker, now = self._worker, time.monotonic()
        running = worker.running()
        report.ready = worker.ready.is_set()
        report.slots = worker.slots
        report.running = len(running)
        report.held = worker.held
        report.longest = [
            RunningTask(job.sig.UUID, job.sig.Name, job.delivery.queue, now - job.started_at)
            for job in sorted(running, key=lambda job: job.started_at)[:MAX_NAMED_TASKS]
        ]
        report.memory = self._memory()
        return report
