"""A worker under its supervisor's orders."""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import threading

import msgspec

from gearmesh.app.app import App
from gearmesh.control.line import is_controlled
from gearmesh.errors import GearmeshError
from gearmesh.logs import set_level, set_up_logging
from gearmesh.metrics.tally import Tally
from gearmesh.scoreboard import Scoreboard
from gearmesh.worker.child_process import EXIT_CONFIG
from gearmesh.worker.control import follow, wait_to_begin
from gearmesh.worker.forked import handle_signals
from gearmesh.worker.history_writer import keeps_history
from gearmesh.worker.loader import load_for
from gearmesh.worker.memory import resident
from gearmesh.worker.options import WorkerOptions, options_of
from gearmesh.worker.orders import decode_order
from gearmesh.worker.reporter import Reporter
from gearmesh.worker.stop_signals import signals_to_stop
from gearmesh.worker.worker import Worker

__all__ = ["SupervisedWorker", "main"]

log = logging.getLogger("gearmesh.worker")

#: Seconds between two looks at this process's memory.
MEMORY_CHECK_INTERVAL_S = 0.1


class SupervisedWorker:
    """Runs the worker inside a supervised process, and stops it when the supervisor or a signal says so.

    The supervisor's first order stops the worker, its second one stops it at once. A signal to this process has the
    effect of the first order, however often it comes: systemd sends a signal to the whole process group, so that it
    arrives here and at the supervisor, which sends its order as well.

    Args:
        control: this process's end of the supervisor's :class:`~.control.ControlPipe`.
        reporter: reports to the supervisor.
    """

    def __init__(
        self,
        worker: Worker,
        options: WorkerOptions,
        scoreboard: Scoreboard,
        control: int,
        reporter: Reporter,
    ) -> None:
        self._control = control
        self._reporter = reporter
        self._scoreboard = scoreboard
        self._worker = worker
        self._grace = options.grace
        self._most_memory = options.max_memory_per_child
        self._orders = 0
        self._asked = False
        self._stopping = threading.Lock()

    def run(self) -> int:
        handle_signals(signals_to_stop(), lambda number, frame: self._begin_to_stop())
        follow(self._control, self._on_order, self._on_orphaned, self._on_other_order)
        threading.Thread(target=self._retire, name="gearmesh-retire", daemon=True).start()
        if self._most_memory is not None:
            threading.Thread(target=self._watch_memory, name="gearmesh-memory", daemon=True).start()
        self._reporter.start()
        try:
            self._worker.run()
        except GearmeshError:  # the intake has logged it; a queue that is missing may be created meanwhile
            return 1
        finally:
            self._reporter.stop()
        return 0

    def _on_order(self) -> None:
        self._orders += 1
        if self._orders == 1:
            self._begin_to_stop()
        elif self._orders == 2:
            threading.Thread(target=self._leave, name="gearmesh-leave", daemon=True).start()

    def _on_other_order(self, line: bytes) -> None:
        """Follow an order of remote control."""
        try:
            order = decode_order(line)
            if order.queues is not None or order.tasks is not None:
                self._worker.pause(order.queues or (), order.tasks or ())
            if order.log_level is not None:
                set_level(order.log_level)
            if order.slots is not None:
                self._worker.resize(order.slots)
        except (GearmeshError, msgspec.DecodeError) as exc:
            log.error("an order of the supervisor cannot be followed: %s", exc)

    def _begin_to_stop(self) -> None:
        if not self._asked:
            self._asked = True
            threading.Thread(target=self._stop, name="gearmesh-stop").start()

    def _stop(self) -> None:
        with self._stopping:
            if not self._worker.stop(self._grace):
                # Threads that still run tasks would keep the interpreter alive; their messages went back.
                self._reporter.stop()
                os._exit(0)

    def _leave(self) -> None:
        """Return all unacked deliveries and end the process; running tasks can't commit any more."""
        try:
            self._worker.leave()
            self._reporter.stop()
        finally:
            os._exit(0)

    def _retire(self) -> None:
        """End after enough tasks, or with too much memory, so that the supervisor starts a new process."""
        self._worker.worn_out.wait()
        log.info(
            "restarting this worker process: it has run as many tasks, or uses as much memory, as it may"
        )
        while not self._worker.finish(0.5) and not self._asked:
            pass
        self._stop()

    def _watch_memory(self) -> None:
        assert self._most_memory is not None
        while not self._worker.worn_out.wait(MEMORY_CHECK_INTERVAL_S):
            used = resident() / 2**20
            if used > self._most_memory:
                self._scoreboard.greedy = True
                log.warning(
                    "this process uses %d MiB, more than max-memory-per-child (%d MiB)",
                    used,
                    self._most_memory,
                )
                self._worker.wear_out()

    def _on_orphaned(self) -> None:
        """Send the heartbeats in the supervisor's place, and stop."""
        log.error("the supervisor is gone: stopping")
        self._worker.beat()
        self._stop()


def main(argv: list[str]) -> int:
    """Run a worker with its supervisor's setup, and return an exit code."""
    setup = json.loads(argv[1])
    options = options_of(setup["options"])
    scoreboard = Scoreboard(setup["scoreboard"], options.scoreboard_size)
    # The open file shows that this process lives: programs and forks of tasks must not keep it open.
    os.set_inheritable(scoreboard.file, False)
    os.register_at_fork(after_in_child=scoreboard.close)
    gc.freeze()  # else the collector walks through all modules while the app is loaded, over and over
    gc.enable()
    set_up_logging(options.log_level or "INFO", options.log_format)
    loaded: tuple[Worker, Tally | None] | GearmeshError
    try:
        app = load_for(setup["spec"], options, tell=False, quiet=setup["quiet"])
        loaded = _worker_of(app, options, setup["consumer"], scoreboard)
    except GearmeshError as exc:
        loaded = exc
    broker = wait_to_begin(setup["control"])
    if broker is None:
        return 0
    if isinstance(loaded, GearmeshError):
        # Log it only now: the supervisor loads the app, too, and shows an error that both of them have.
        log.critical("%s", loaded)
        return EXIT_CONFIG
    worker, tally = loaded
    worker.use_broker(broker)
    reporter = Reporter(setup["reports"], worker, tally, resident)
    return SupervisedWorker(worker, options, scoreboard, setup["control"], reporter).run()


def _worker_of(
    app: App, options: WorkerOptions, consumer: str, scoreboard: Scoreboard
) -> tuple[Worker, Tally | None]:
    """Make the app's worker, with a Tally if its tasks are to be counted. Raises GearmeshError."""
    gc.collect()
    gc.disable()  # while the transport is imported
    counts = options.counts or is_controlled(app.config) or keeps_history(app.config)
    tally = Tally(metrics=options.counts) if counts else None
    worker = Worker(
        app,
        options.queues,
        options.concurrency,
        queue_order=options.queue_order,
        consumer=consumer,
        heartbeats=False,
        pool=options.pool,
        soft_limit=options.soft_limit,
        hard_limit=options.hard_limit,
        max_tasks=options.max_tasks_per_child,
        scoreboard=scoreboard,
        task_log_limit=options.task_log_limit,
        observers=() if tally is None else (tally,),
    )
    _tune()
    return worker, tally


def _tune() -> None:
    """Tune the garbage collector and the interpreter's lock of this process, which runs nothing but the worker.

    The collector: the objects that are loaded by now live as long as the process, so it need not look at them again.
    There is too little garbage among them to search for it, which takes longer than to connect. And a busy worker makes
    and drops thousands of objects a batch and hardly any cycles: the default threshold of 700 cost a fifth of its time.

    The interpreter's lock: the threads that fetch and commit need it for moments, and would wait 5 ms for each behind
    tasks that compute. Much less than 1 ms slows quick tasks down, because the threads take the lock from each other.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 50)
    sys.setswitchinterval(0.001)
