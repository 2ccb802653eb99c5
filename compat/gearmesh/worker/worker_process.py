"""The processes that run tasks, which their supervisor starts again when they end."""

from __future__ import annotations

import logging
from collections.abc import Callable

from gearmesh.worker.heartbeater import DeadChild, Heartbeater
from gearmesh.worker.managed_process import SETTLE_DELAY_S, ManagedProcess
from gearmesh.worker.monitor import Monitor
from gearmesh.worker.worker_child import WorkerChild

__all__ = ["WorkerProcess"]

log = logging.getLogger("gearmesh.supervisor")


class WorkerProcess(ManagedProcess[WorkerChild]):
    """A managed process that runs tasks. The next one starts when the deliveries of the last one are settled.

    Args:
        start: starts a process.
        heartbeater: sends its heartbeats, and settles the deliveries of dead processes.
        grace: seconds that running tasks get at the first signal.
        monitor: counts the processes.
    """

    def __init__(
        self, start: Callable[[], WorkerChild], heartbeater: Heartbeater, grace: float, monitor: Monitor
    ) -> None:
        self._starts = 0

        def begin() -> WorkerChild:
            child = start()
            self._starts += 1
            if self._starts > 1:
                monitor.totals.restarted()
            heartbeater.born(child.consumer, lambda: child.stopped)
            return child

        super().__init__("worker", begin, grace)
        self._heartbeater = heartbeater
        #: The last process, until its deliveries are settled.
        self._dead: tuple[WorkerChild, DeadChild] | None = None

    @property
    def empty(self) -> bool:
        """See :attr:`.ManagedProcess.empty`."""
        return super().empty and self._dead is None

    def _attend(self, child: WorkerChild, now: float) -> float:
        """Kill a process at the hard limit of its task, too."""
        pause = super()._attend(child, now)
        if now >= child.scoreboard.deadline and not child.overdue:
            child.overdue = child.scoreboard.running
            log.error("a task ran into its hard time limit: its process is killed")
            child.kill()
        return pause

    def _after_exit(self, child: WorkerChild, code: int, signals: int) -> None:
        """Have the heartbeater settle the deliveries of the process."""
        running = child.scoreboard.running
        overdue = [number for number in child.overdue if number in running]
        # Exit code 0 in the midst of a task: the task has ended the process.
        crashed = not signals and not child.overdue and (code != 0 or bool(running))
        death = DeadChild(
            child.consumer,
            running=running if crashed else (),
            overdue=overdue,
            certain=child.guilty(code),
            crashed=not signals,
        )
        self._heartbeater.died(death)
        self._dead = child, death
        if crashed:
            # The quarantine deals with a task that brings its process down: the next process starts at once, since
            # all other tasks wait for it. A growing backoff is for processes that fail to start.
            self._delay_restart(child, code, reset=bool(running))

    def _settled(self, signals: int, now: float) -> bool:
        if self._dead is None:
            return True
        child, death = self._dead
        gives_up = (signals and not self._heartbeater.reached) or now >= self._ends_at + SETTLE_DELAY_S
        if not (death.settled or death.abandoned or gives_up):
            return False  # the heartbeater will wake the supervisor
        child.close()
        child.scoreboard.close(keep=not death.settled)  # another worker's reaper reads it, if kept
        self._dead = None
        return True
