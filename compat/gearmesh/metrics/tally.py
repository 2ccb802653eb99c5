"""Adds up what a worker process commits, a batch at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

from gearmesh.app.revocations import REVOKED_ERROR
from gearmesh.interfaces.commit import Commit, Outcome
from gearmesh.interfaces.observer import Flush, ObservedJob, TaskObserver
from gearmesh.metrics.report import QueueCounts, Report, TaskCounts
from gearmesh.metrics.series import BATCH_BOUNDS, FLUSH_BOUNDS_S, RUN_BOUNDS_S, WAIT_BOUNDS_S
from gearmesh.wire.expiry import EXPIRED_ERROR
from gearmesh.wire.gotime import parse
from gearmesh.wire.state import FAILURE, PENDING, SUCCESS

__all__ = ["Tally", "outcome_of"]


class Tally(TaskObserver):
    """Counts how the tasks of one process end, until the next report. The committer's thread adds, and another one
    takes.

    All names in it are those of registered tasks and of queues that the worker reads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._tasks: dict[tuple[str, str, str], TaskCounts] = {}
        self._queues: dict[str, QueueCounts] = {}
        self._report = Report()

    def flushed(self, flush: Flush) -> None:
        """Count the ends of tasks in a flush, and what became of other messages."""
        clock_offset_s = time.time() - time.monotonic()
        with self._lock:
            self._report.batches.observe(len(flush.items), BATCH_BOUNDS)
            self._report.flushes.observe(flush.seconds, FLUSH_BOUNDS_S)
            ends: dict[tuple[str, str, str], list[ObservedJob]] = {}
            for (commit, job), outcome in zip(flush.items, flush.outcomes, strict=True):
                settle = commit.settle
                if settle is not None and settle.how in ("park", "dead"):
                    self._count_removed(commit, outcome)
                # A lost delivery that only shows a state is counted with the Commit that would have settled it.
                if outcome == "lost" and settle is not None and settle.how != "keep" and not flush.repeated:
                    self._queue(settle.delivery.queue).lost += 1
                if job is None:
                    continue
                word = outcome_of(commit, job, outcome)
                if word:
                    key = (job.sig.Name, job.delivery.queue, word)
                    if key in ends:
                        ends[key].append(job)
                    else:
                        ends[key] = [job]
            for (name, queue, word), jobs in ends.items():
                self._count_ends(name, queue, word, jobs, clock_offset_s)

    def stalled(self) -> None:
        """Count a time at which Commits began to wait."""
        with self._lock:
            self._report.stalls += 1

    def take(self, reaped: Mapping[str, int] | None = None) -> Report:
        """Return what was counted since the last call, with deliveries that were reaped, by queue."""
        with self._lock:
            for queue, count in (reaped or {}).items():
                self._queue(queue).reaped += count
            report, tasks, queues = self._report, self._tasks, self._queues
            self._begin()
        report.tasks, report.queues = list(tasks.values()), list(queues.values())
        return report

    def _count_ends(
        self, name: str, queue: str, outcome: str, jobs: Sequence[ObservedJob], clock_offset_s: float
    ) -> None:
        """Count the ends of tasks of one name, from one queue, all at once: every task passes here."""
        key = (name, queue, outcome)
        found = self._tasks.get(key)
        if found is None:
            found = self._tasks[key] = TaskCounts(name, queue, outcome)
        found.count += len(jobs)
        begun = [job for job in jobs if job.started_at]
        if not begun:
            return
        runs = [job.ended_at - job.started_at for job in begun if job.ended_at and not job.ended_before]
        found.run.observe_all(runs, RUN_BOUNDS_S)
        counts = self._queue(queue)
        counts.wait.observe_all([job.started_at - job.received_at for job in begun], WAIT_BOUNDS_S)
        counts.redelivered += len([job for job in begun if job.delivery.redelivered])
        for job in begun:
            if job.sig.ETA is not None:
                late = job.started_at + clock_offset_s - parse(job.sig.ETA) / 1e9
                counts.late.observe(max(0.0, late), WAIT_BOUNDS_S)

    def _count_removed(self, commit: Commit, outcome: Outcome) -> None:
        settle = commit.settle
        assert settle is not None
        counts = self._queue(settle.delivery.queue)
        if outcome == "expired" or (settle.how == "dead" and outcome == "done"):
            counts.dead += 1
        elif outcome == "done":
            counts.parked += 1

    def _queue(self, name: str) -> QueueCounts:
        found = self._queues.get(name)
        if found is None:
            found = self._queues[name] = QueueCounts(name)
        return found


def outcome_of(commit: Commit, job: ObservedJob, outcome: Outcome) -> str:
    """Name the end of a task that a Commit makes known, once a delivery; ``""``: it makes none known.

    A chord's member is committed twice; its own state is in the first of the two that is written.
    """
    settle = commit.settle
    if settle is None or settle.how in ("keep", "head", "tail", "later", "park") or outcome == "retry_all":
        return ""
    if outcome == "lost":
        return "lost"
    if job.ended_before:
        return "resumed" if outcome != "complete" else ""
    uuid = job.sig.UUID
    for state in commit.states:
        if state.TaskUUID == uuid:
            if state.State == SUCCESS:
                return "succeeded"
            if state.State == PENDING:
                return "retried"
            if state.State == FAILURE:
                return {REVOKED_ERROR: "revoked", EXPIRED_ERROR: "expired"}.get(state.Error, "failed")
    return ""
