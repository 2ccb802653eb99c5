"""The totals of a worker: the reports of all its processes, and the counts of its supervisor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final

from gearmesh.metrics.histogram import Histogram
from gearmesh.metrics.report import QueueCounts, Report, TaskCounts
from gearmesh.metrics.series import FLUSH_BOUNDS_S, OTHER

__all__ = ["MAX_NAMES", "Totals"]

#: Names of tasks, and of queues, that have counts of their own; others share one. An app may register tasks while it
#: runs.
MAX_NAMES: Final = 1000


class Totals:
    """Adds up the reports of all processes of a worker. Counts never fall: those of an ended process stay. Safe in
    threads.

    Attributes:
        tasks: the counts by task, queue and outcome.
        queues: the counts by queue.
        batches, flushes, round_trips: histograms.
        stalls, reconnects, recovered, restarts: counts.
        latest: the last report of each process that lives, by its consumer's name.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.tasks: dict[tuple[str, str, str], TaskCounts] = {}
        self.queues: dict[str, QueueCounts] = {}
        self.batches, self.flushes, self.round_trips = Histogram(), Histogram(), Histogram()
        self.stalls = self.reconnects = self.recovered = self.restarts = 0
        self.latest: dict[str, Report] = {}
        self._names: set[str] = set()

    def read(self, reader: Callable[[Totals], None]) -> None:
        """Call ``reader`` with the totals, which do not change during the call."""
        with self._lock:
            reader(self)

    def add(self, consumer: str, report: Report) -> None:
        """Add the report of a process."""
        with self._lock:
            self.latest[consumer] = report
            for each in report.tasks:
                self.count_tasks(each)
            for counts in report.queues:
                found = self.queues.setdefault(self._label(counts.queue), QueueCounts(counts.queue))
                found.redelivered += counts.redelivered
                found.parked += counts.parked
                found.dead += counts.dead
                found.lost += counts.lost
                found.reaped += counts.reaped
                found.wait.add(counts.wait)
                found.late.add(counts.late)
            self.batches.add(report.batches)
            self.flushes.add(report.flushes)
            self.stalls += report.stalls

    def count_tasks(self, counts: TaskCounts) -> None:
        """Add the ends of tasks."""
        with self._lock:
            key = (self._label(counts.task), self._label(counts.queue), counts.outcome)
            found = self.tasks.setdefault(key, TaskCounts(*key))
            found.count += counts.count
            found.run.add(counts.run)

    def gone(self, consumer: str) -> None:
        """Forget the last report of a process that has ended; its counts stay."""
        with self._lock:
            self.latest.pop(consumer, None)

    def restarted(self) -> None:
        """Count a process that was started in place of another."""
        with self._lock:
            self.restarts += 1

    def reconnecting(self) -> None:
        """Count a time at which the supervisor lost the broker."""
        with self._lock:
            self.reconnects += 1

    def returned(self, count: int) -> None:
        """Count deliveries of dead processes that were returned."""
        with self._lock:
            self.recovered += count

    def reaped(self, counts: Mapping[str, int]) -> None:
        """Count deliveries of silent workers, by queue, that the supervisor has returned."""
        with self._lock:
            for queue, count in counts.items():
                found = self.queues.setdefault(self._label(queue), QueueCounts(queue))
                found.reaped += count

    def answered(self, seconds: float) -> None:
        """Count an answer for which the broker took ``seconds``."""
        with self._lock:
            self.round_trips.observe(seconds, FLUSH_BOUNDS_S)

    def _label(self, name: str) -> str:
        if name in self._names:
            return name
        if len(self._names) >= MAX_NAMES:
            return OTHER
        self._names.add(name)
        return name
