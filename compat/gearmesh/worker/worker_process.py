"""The processes that run tasks, as their supervisor sees them."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import signal
from collections.abc import Callable

from gearmesh.scoreboard import Scoreboard
from gearmesh.transports.unacked import consumer_name
from gearmesh.worker.heartbeater import DeadChild, Heartbeater
from gearmesh.worker.managed_process import ChildProcess, ManagedProcess
from gearmesh.worker.monitor import Monitor
from gearmesh.worker.options import WorkerOptions
from gearmesh.worker.report_pipe import ReportPipe

__all__ = ["WorkerChild", "WorkerProcess"]

log = logging.getLogger("gearmesh.supervisor")

#: A process that is killed within these seconds after an isolated job began was killed by that job.
IMMEDIATE_DEATH_S = 0.2
#: Seconds to wait for the last report of a process that has ended.
LAST_REPORT_TIMEOUT_S = 1.0


class WorkerChild(ChildProcess):
    """One run of a worker process, with its scoreboard.

    The process loads the app, and waits for :meth:`begin` before it connects to a server.

    Args:
        spec: of the app.
        on_exit: called when the process has ended.
        monitor: takes its reports.
    """

    def __init__(
        self,
        spec: str,
        options: WorkerOptions,
        on_exit: Callable[[], None],
        monitor: Monitor,
    ) -> None:
        self.consumer = consumer_name(options.consumer_tag or "")
        #: Fetch counters of the jobs for which the process was killed at their hard limit.
        self.overdue: list[int] = []
        self._oom_kills = oom_kills()
        self.scoreboard = Scoreboard.post(self.consumer, options.scoreboard_size)
        reports = self._reports = ReportPipe()
        setup = {
            "spec": spec,
            "options": dataclasses.asdict(options),
            "consumer": self.consumer,
            "scoreboard": self.scoreboard.file,
            "reports": reports.child_end,
        }
        inherited = [self.scoreboard.file, reports.child_end]
        try:
            super().__init__("gearmesh.worker.child", setup, on_exit, inherited=inherited)
        except BaseException:
            self.scoreboard.close()
            reports.discard()
            raise
        finally:
            reports.started()
        consumer = self.consumer
        reports.follow(lambda report: monitor.take(consumer, report), lambda: monitor.gone(consumer))

    def discard(self) -> None:
        """End a process that did not begin."""
        self.kill()
        self.close()
        self.scoreboard.close()

    def close(self) -> None:
        """Release what belonged to the process, once its last report was taken."""
        super().close()
        self._reports.join(LAST_REPORT_TIMEOUT_S)

    def guilty(self, code: int) -> bool:
        """Say whether a job brought the process down.

        A SIGKILL may come from anybody, so it counts only where memory ran out or an isolated job had just begun.
        """
        board = self.scoreboard
        if code != -signal.SIGKILL or board.greedy or board.alone_for < IMMEDIATE_DEATH_S:
            return True
        kills = oom_kills()
        return kills is None or kills != self._oom_kills


class WorkerProcess(ManagedProcess[WorkerChild]):
    """A managed process that runs tasks. The next one starts when what the last one held is settled.

    Args:
        start: starts a process.
        heartbeater: sends its heartbeats, and settles what dead ones held.
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
        #: The last process, until what it held is settled.
        self._dead: tuple[WorkerChild, DeadChild] | None = None

    @property
    def empty(self) -> bool:
        """See :attr:`.ManagedProcess.empty`."""
        return super().empty and self._dead is None

    def _attend(self, child: WorkerChild, signals: int, now: float) -> float:
        """Kill a process at the hard limit of its task, too."""
        pause = super()._attend(child, signals, now)
        if now >= child.scoreboard.deadline and not child.overdue:
            child.overdue = child.scoreboard.running
            log.error("a task ran into its hard time limit: its process is killed")
            child.kill()
        return pause

    def _after_exit(self, child: WorkerChild, code: int, signals: int) -> None:
        """Have the heartbeater settle what the process held."""
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

    def _settled(self, signals: int) -> bool:
        if self._dead is None:
            return True
        child, death = self._dead
        if not (death.settled or death.abandoned or (signals and not self._heartbeater.reached)):
            return False  # the heartbeater will wake the supervisor
        child.close()
        child.scoreboard.close(keep=not death.settled)  # other workers' reapers settle what is not
        self._dead = None
        return True


def oom_kills() -> int | None:
    """Return how often the system has killed a process because memory ran out; None: it does not say."""
    with contextlib.suppress(OSError), open("/proc/vmstat", "rb") as file:
        return next((int(line.split()[1]) for line in file if line.startswith(b"oom_kill ")), None)
    return None
