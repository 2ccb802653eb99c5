"""The small parent of every ``gearmesh worker``.

It sends heartbeats while its children live (a task that holds the GIL for a minute keeps its lease), restarts them with
growing backoff, and returns the deliveries of a dead child at once. The pools of threads and of coroutines have one
child. The pool of processes has one for each slot, and each is a consumer of its own.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from gearmesh.app.app import App
from gearmesh.backoff import Backoff
from gearmesh.control.line import is_controlled
from gearmesh.errors import GearmeshError
from gearmesh.scoreboard import sweep
from gearmesh.units import duration
from gearmesh.wakeup import Wakeup
from gearmesh.worker.banner import log_banner
from gearmesh.worker.child_process import ChildProcess
from gearmesh.worker.commands import Commands
from gearmesh.worker.control_server import ControlServer
from gearmesh.worker.fleet import Fleet
from gearmesh.worker.heartbeater import Heartbeater
from gearmesh.worker.history_writer import HistoryWriter, keeps_history
from gearmesh.worker.limits import Limits
from gearmesh.worker.managed_process import STOP_DELAY_S, ManagedProcess
from gearmesh.worker.monitor import Monitor
from gearmesh.worker.options import WorkerOptions
from gearmesh.worker.spawner import Spawner
from gearmesh.worker.stop_signals import StopSignals
from gearmesh.worker.worker_process import WorkerProcess

__all__ = ["Supervisor"]

log = logging.getLogger("gearmesh.supervisor")

#: Seconds between two checks of hard limits, if any task has one.
DEADLINE_CHECK_INTERVAL_S = 0.1
#: The most and the fewest seconds that the heartbeater has to end. It has the fewest even if the worker is late.
MAX_CLOSE_S, MIN_CLOSE_S = 5.0, 0.5


class Supervisor:
    """Runs the processes of one ``gearmesh worker``, and settles the deliveries of dead ones.

    Args:
        app: the app, loaded.
        spec: the app's MODULE:APP, for the processes.
        options: the worker's options.
        changed: wakes the supervisor; the spawner sets it when a process has ended.
        signals: tell it to stop.
        spawner: starts the processes that run tasks.
        monitor: takes the reports of the processes.

    Raises:
        ConfigError: the app has hard limits that the pool can't keep, or a queue can't be read.
    """

    def __init__(
        self,
        app: App,
        spec: str,
        options: WorkerOptions,
        changed: Wakeup,
        signals: StopSignals,
        *,
        spawner: Spawner,
        monitor: Monitor,
    ) -> None:
        self._app = app
        self._options = options
        limits = Limits(app.tasks, options.soft_limit, options.hard_limit)
        if options.pool != "processes":
            limits.need_processes()
        self._max_wait = DEADLINE_CHECK_INTERVAL_S if limits.any_hard else 3600.0
        self._queues = tuple(dict.fromkeys(options.queues or (app.config.default_queue,)))
        for queue in self._queues:
            app.config.check_queue(queue, reads=True)
        self._changed = changed
        self._monitor = monitor
        self._spawner = spawner
        totals = monitor.totals
        history = HistoryWriter(totals) if keeps_history(app.config) else None
        self._heartbeater = Heartbeater(
            app, self._queues, limits, self._changed.set, totals=totals, history=history
        )
        self._signals = signals
        #: the number of signals that were logged
        self._logged = 0
        #: when the worker has to have ended (monotonic seconds)
        self._stop_by = float("inf")
        self._fleet = Fleet(
            options,
            spawner,
            lambda start: WorkerProcess(start, self._heartbeater, options.grace, self._monitor),
            lambda: app.broker_choice.index,
        )
        self._schedulers = [self._scheduler(spec)] if options.with_scheduler else []
        #: actions that other threads have handed over to the supervisor's thread
        self._todo: deque[Callable[[], None]] = deque()
        self._control: ControlServer | None = None
        if is_controlled(app.config):
            commands = Commands(options, self._queues, self._fleet, self._monitor, self._later)
            commands.on_shutdown = signals.stop
            self._control = ControlServer(app, commands)

    def _scheduler(self, spec: str) -> ManagedProcess[ChildProcess]:
        setup = {"spec": spec, "options": dataclasses.asdict(self._options)}
        starts = itertools.count()

        def start() -> ChildProcess:
            # As with a Spawner, the first process is quiet, because this one has loaded the app, too.
            own = {"broker": self._app.broker_choice.index, "quiet": next(starts) == 0}
            return ChildProcess("gearmesh.scheduler.child", setup | own, self._changed.set)

        return ManagedProcess("scheduler", start, self._options.grace)

    def run(self) -> int:
        """Supervise until a signal ends it, and return an exit code."""
        try:
            self._spawner.prepare(
                len(self._fleet)
            )  # they load the app while this process reaches the servers
            if not self._reach():
                return 0
            sweep()
            log_banner(self._app, self._options, self._queues)
            self._monitor.start()
            if self._control is not None:
                self._control.start()
            self._heartbeater.start()
            return self._supervise()
        finally:
            if self._control is not None:
                self._control.stop()
            self._heartbeater.close(min(MAX_CLOSE_S, max(MIN_CLOSE_S, self._stop_by - time.monotonic())))

    def _later(self, action: Callable[[], None]) -> None:
        """Have the supervisor's thread call ``action`` soon. Any thread."""
        self._todo.append(action)
        self._changed.set()

    def _log_signals(self) -> None:
        """Log each of the first two signals. A signal handler must not log, since the main thread may be logging."""
        now = time.monotonic()
        if self._logged < 1 <= self._signals.count:
            self._stop_by = now + self._options.grace + STOP_DELAY_S
            log.info(
                "stopping: this worker takes no more tasks; running ones have %s to finish. "
                "A second signal (Ctrl-C) returns them to their queues at once",
                duration(self._options.grace),
            )
        if self._logged < 2 <= self._signals.count:
            self._stop_by = min(self._stop_by, now + STOP_DELAY_S)
            log.warning("stopping at once: unfinished tasks return to their queues")
        self._logged = self._signals.count

    def _reach(self) -> bool:
        """Reach broker and backend once before anything is started; False if a signal came first."""
        backoff = Backoff(0.1)
        # A signal must interrupt the wait for a server that does not answer.
        with suppress(KeyboardInterrupt), self._signals.interrupting():
            while not self._signals.count:
                try:
                    self._heartbeater.connect()
                    self._app.check_backend()
                    return True
                except GearmeshError as exc:
                    if not self._options.wait_for_broker:
                        raise
                    backoff.log(log, "waiting for the servers", exc)
                    self._changed.wait(backoff.next())
        return False

    def _supervise(self) -> int:
        hopeless = False
        while True:
            self._changed.clear()
            while self._todo:
                self._todo.popleft()()
            self._log_signals()
            self._monitor.expected = len(self._fleet)
            pause = self._fleet.step(self._signals.count)
            for scheduler in self._schedulers:
                pause = min(pause, scheduler.step(self._signals.count))
            if not hopeless and (self._fleet.hopeless or any(each.hopeless for each in self._schedulers)):
                hopeless = True
                self._signals.stop()  # the other processes stop, too
                self._logged = self._signals.count
                continue
            if self._signals.count and self._fleet.empty and all(each.empty for each in self._schedulers):
                log.info("stopped")
                return 2 if hopeless else 0
            beat = self._monitor.beat(reached=self._heartbeater.reached, stopping=self._signals.count > 0)
            self._changed.wait(max(0.0, min(pause, self._max_wait, beat)))
