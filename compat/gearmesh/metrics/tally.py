"""Counts the Commits of a worker process, a batch at a time."""

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
    """Counts the ends of one process's tasks until the next report. The committer's thread adds, and another one takes.

    All names in it are those of registered tasks and of queues that the worker reads.

    Args:
        metrics: False: no program reads metrics. Every task passes here, so it then leaves out redeliveries and the
            histograms of tasks and queues, but for the sum of the seconds that tasks ran.
    """

    def __init__(self, *, metrics: bool = True) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._tasks: dict[tuple[str, str, str], TaskCounts] = {}
        self._queues: dict[str, QueueCounts] = {}
        self._report = Report()

    def flushed(self, flush: Flush) -> None:
        """Count the ends of tasks in a flush, and messages that were lost, parked or dead-lettered."""
        with self._lock:
            self._report.batches.observe(len(flush.items), BATCH_BOUNDS)
            self._report.flushes.observe(flush.seconds, FLUSH_BOUNDS_S)
            ends: dict[tuple[str, str, str], list[ObservedJob]] = {}
            name = queue = ""
            same: list[ObservedJob] = []
            for (commit, job), outcome in zip(flush.items, flush.outcomes, strict=True):
                settle, states = commit.settle, commit.states
                # A short cut for nearly every task: it has succeeded, and usually it has the name of the one before.
                if (
                    outcome == "done"
                    and len(states) == 1
                    and states[0].State == SUCCESS
                    and job is not None
                    and not job.ended_before
                    and settle is not None
                    and settle.how == "ack"
                ):
                    if job.sig.Name != name or settle.delivery.queue != queue:
                        name, queue = job.sig.Name, settle.delivery.queue
                        same = ends.setdefault((name, queue, "succeeded"), [])
                    same.append(job)
                    continue
                word = self._outcome(commit, job, outcome, flush.repeated)
                if job is not None and word:
                    ends.setdefault((job.sig.Name, job.delivery.queue, word), []).append(job)
            for key, jobs in ends.items():
                self._count_ends(key, jobs)

    def stalled(self) -> None:
        """Count a time at which Commits began to wait."""
        with self._lock:
            self._report.stalls += 1

    def take(self, reaped: Mapping[str, int] | None = None) -> Report:
        """Return the counts since the last call. ``reaped``: further counts of reaped deliveries, by queue."""
        with self._lock:
            for queue, count in (reaped or {}).items():
                self._queue(queue).reaped += count
            report, tasks, queues = self._report, self._tasks, self._queues
            self._begin()
        report.tasks, report.queues = list(tasks.values()), list(queues.values())
        return report

    def _outcome(self, commit: Commit, job: ObservedJob | None, outcome: Outcome, repeated: bool) -> str:
        """Name the end of a task, "" for none, and count a message that was lost, parked or dead-lettered."""
        settle = commit.settle
        if settle is not None and settle.how in ("park", "dead"):
            self._count_removed(commit, outcome)
        # If a Commit only writes a state, the lost delivery is counted with the later Commit that would settle it.
        if outcome == "lost" and settle is not None and settle.how != "keep" and not repeated:
            self._queue(settle.delivery.queue).lost += 1
        return "" if job is None else outcome_of(commit, job, outcome)

    def _count_ends(self, key: tuple[str, str, str], jobs: Sequence[ObservedJob]) -> None:
        """Count all ends of tasks with one (name, queue, outcome) together: nearly every task passes here."""
        found = self._tasks.get(key)
        if found is None:
            found = self._tasks[key] = TaskCounts(*key)
        found.count += len(jobs)
        runs = [job.ended_at - job.started_at for job in jobs if job.ended_at and not job.ended_before]
        if not self._metrics:
            found.run.total += sum(runs)
            return
        found.run.observe_all(runs, RUN_BOUNDS_S)
        counts = self._queue(key[1])
        begun = [job for job in jobs if job.started_at]
        counts.wait.observe_all([job.started_at - job.received_at for job in begun], WAIT_BOUNDS_S)
        for job in begun:
            if job.delivery.redelivered:
                counts.redelivered += 1
            if job.sig.ETA is not None:
                counts.late.observe(_late_s(job), WAIT_BOUNDS_S)

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


def _late_s(job: ObservedJob) -> float:
    """Return the seconds from the ETA of a job, which must have one, to its begin."""
    assert job.sig.ETA is not None
    clock_offset_s = time.time() - time.monotonic()
    return max(0.0, job.started_at + clock_offset_s - parse(job.sig.ETA) / 1e9)


def outcome_of(commit: Commit, job: ObservedJob, outcome: Outcome) -> str:
    """Name the end of the task that a Commit reports, once for each delivery; ``""``: it reports no end.

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
