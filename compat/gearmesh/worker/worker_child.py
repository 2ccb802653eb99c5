"""A process that runs tasks, as its supervisor sees it."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable

from gearmesh.scoreboard import Scoreboard
from gearmesh.transports.unacked import consumer_name
from gearmesh.worker.child_process import ChildProcess
from gearmesh.worker.memory import oom_kills
from gearmesh.worker.monitor import Monitor
from gearmesh.worker.options import WorkerOptions
from gearmesh.worker.report_pipe import ReportPipe

__all__ = ["WorkerChild"]

#: A process that is killed within these seconds after an isolated job began was killed by that job.
IMMEDIATE_DEATH_S = 0.2
#: Seconds to wait for the last report of a process that has ended.
LAST_REPORT_TIMEOUT_S = 1.0


class WorkerChild(ChildProcess):
    """One run of a worker process, with its scoreboard.

    The process loads the app, and waits for :meth:`begin` before it connects to a server.

    Args:
        spec: the app's MODULE:APP.
        on_exit: called when the process has ended.
        monitor: takes its reports.
        quiet: see :func:`.load_for`.
    """

    def __init__(
        self,
        spec: str,
        options: WorkerOptions,
        on_exit: Callable[[], None],
        monitor: Monitor,
        *,
        quiet: bool = False,
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
            "quiet": quiet,
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
        """Close the pipes of a process that has ended, once its last report was taken."""
        super().close()
        self._reports.join(LAST_REPORT_TIMEOUT_S)

    def guilty(self, code: int) -> bool:
        """Say whether a job brought the process down.

        Any program may send a SIGKILL, so it counts only if memory ran out or an isolated job had just begun.
        """
        board = self.scoreboard
        if code != -signal.SIGKILL or board.greedy or board.alone_for < IMMEDIATE_DEATH_S:
            return True
        kills = oom_kills()
        return kills is None or kills != self._oom_kills
