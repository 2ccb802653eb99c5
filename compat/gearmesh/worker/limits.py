"""Time limits: the limits that apply to each task, and the check of soft limits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from gearmesh.app.task import Task
from gearmesh.errors import ConfigError, SoftLimitExceeded
from gearmesh.worker.executor import Executor
from gearmesh.worker.job_table import JobTable

__all__ = ["Limits"]

#: Seconds between two checks of the running jobs.
LIMIT_CHECK_INTERVAL_S = 0.02

AnyTask = Task[..., Any, Any]


class Limits:
    """Knows the limits of a worker's tasks. A task's own limit goes before the worker's default.

    Args:
        tasks: the tasks, by name.
        soft, hard: the limits, in seconds, of tasks that set none; None or 0: no limit.
    """

    def __init__(self, tasks: Mapping[str, AnyTask], soft: float | None, hard: float | None) -> None:
        self._tasks = tasks
        self._soft = soft
        self._hard = hard
        self._next = 0.0

    def soft(self, task: AnyTask) -> float | None:
        """Return the seconds after which a task is interrupted; None: never."""
        return (self._soft if task.soft_limit is None else task.soft_limit) or None

    def hard(self, task: AnyTask) -> float | None:
        """Return the seconds after which a task's process is killed; None: never."""
        return (self._hard if task.hard_limit is None else task.hard_limit) or None

    @property
    def any_hard(self) -> bool:
        """True if any task has a hard limit."""
        return any(self.hard(task) is not None for task in self._tasks.values())

    def need_processes(self) -> None:
        """Raise ConfigError if any task has a hard limit: a thread can't be killed."""
        if self._hard:
            raise ConfigError(
                f"a hard limit of {self._hard:g} s needs 'gearmesh worker --pool processes': a thread cannot be killed"
            )
        for task in self._tasks.values():
            if task.hard_limit:
                raise ConfigError(
                    f"task {task.name!r} has a hard limit of {task.hard_limit:g} s, which needs "
                    "'gearmesh worker --pool processes': a thread cannot be killed"
                )

    def interrupt_late(self, jobs: JobTable, executor: Executor) -> None:
        """Interrupt the jobs that run for longer than their soft limits. The committer calls this every 25 ms."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + LIMIT_CHECK_INTERVAL_S
        for job in jobs.snapshot():
            if job.started_at and job.interrupted is None:
                limit = self.soft(job.task)
                if limit is not None and now - job.started_at >= limit:
                    executor.interrupt(job, SoftLimitExceeded(limit))
