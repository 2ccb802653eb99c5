"""The report of a shadow run: counts, the first differences, and whether the task is ready to be switched."""

from __future__ import annotations

import threading
from typing import Any, Final

import msgspec

from gearmesh.shadow.comparison import Verdict

__all__ = ["ShadowReport", "TaskReport"]

#: Differences that are kept for each task.
MAX_KEPT_DIFFERENCES: Final = 10


class TaskReport(msgspec.Struct):
    """Counts how often one task agreed with its real worker.

    Attributes:
        agreed, differed, crashed: calls by verdict. ``crashed``: Python raised an exception, and the worker did not.
        slower: calls for which Python's function alone took longer than the worker from receipt to stored state.
        unanswered: calls whose final state was not found in time.
        seconds: the sum of the durations of Python's function.
        worker_seconds: the sum of the durations in the worker, as far as the run has seen them.
        differences: the first differences, as (UUID, difference).
    """

    agreed: int = 0
    differed: int = 0
    crashed: int = 0
    slower: int = 0
    unanswered: int = 0
    seconds: float = 0.0
    worker_seconds: float = 0.0
    differences: list[tuple[str, str]] = []

    @property
    def compared(self) -> int:
        """Calls with a verdict."""
        return self.agreed + self.differed + self.crashed


class ShadowReport:
    """Collects the reports of all tasks of a shadow run. Safe in threads.

    Args:
        threshold: the share of calls that must agree. least: the number of calls that must have been compared.
    """

    def __init__(self, threshold: float, least: int) -> None:
        self._threshold = threshold
        self._least = least
        self._lock = threading.Lock()
        self.tasks: dict[str, TaskReport] = {}

    def add(
        self, task: str, uuid: str, verdict: Verdict, why: str, seconds: float, worker_seconds: float | None
    ) -> None:
        """Count a compared call. ``worker_seconds``: the duration in the worker; None: the run has not seen it."""
        with self._lock:
            report = self.tasks.setdefault(task, TaskReport())
            setattr(report, verdict, getattr(report, verdict) + 1)
            report.seconds += seconds
            if worker_seconds is not None:
                report.worker_seconds += worker_seconds
                report.slower += seconds > worker_seconds
            if why and len(report.differences) < MAX_KEPT_DIFFERENCES:
                report.differences = [*report.differences, (uuid, why)]

    def add_unanswered(self, task: str) -> None:
        """Count a call whose final state was not found in time."""
        with self._lock:
            self.tasks.setdefault(task, TaskReport()).unanswered += 1

    @property
    def compared(self) -> int:
        """Calls with a verdict, of all tasks."""
        with self._lock:
            return sum(report.compared for report in self.tasks.values())

    @property
    def ended(self) -> int:
        """Calls with a verdict, and those without an answer."""
        with self._lock:
            return sum(report.compared + report.unanswered for report in self.tasks.values())

    def ready(self, task: str) -> bool:
        """Return True if enough calls of a task were compared, and enough of them agree."""
        report = self.tasks.get(task, TaskReport())
        return report.compared >= self._least and report.agreed >= self._threshold * report.compared

    def to_builtins(self) -> dict[str, Any]:
        """Return the reports by task, as values for a JSON encoder."""
        return {
            name: {
                **msgspec.to_builtins(report),
                "compared": report.compared,
                "ready": self.ready(name),
            }
            for name, report in sorted(self.tasks.items())
        }
