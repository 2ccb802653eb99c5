"""A worker: intake → executor → committer, in one process."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import kombu

from gearmesh.app.app import App
from gearmesh.app.revocations import REVOKED_ERROR
from gearmesh.backoff import reason_of
from gearmesh.errors import ConfigError, GearmeshError, SoftLimitExceeded
from gearmesh.interfaces.commit import Commit, Delivery, Outcome
from gearmesh.interfaces.observer import TaskObserver
from gearmesh.scoreboard import Scoreboard
from gearmesh.transports.broker_choice import BrokerChoice
from gearmesh.transports.queue_order import QueueOrder, picker_of
from gearmesh.transports.registry import connect, open_unacked
from gearmesh.units import counted, duration, short_id
from gearmesh.wakeup import Wakeup
from gearmesh.wire.names import slot_tag
from gearmesh.worker.committer import Committer, close_quietly
from gearmesh.worker.coroutines import AsyncExecutor
from gearmesh.worker.events import WorkerEvents
from gearmesh.worker.executor import Executor
from gearmesh.worker.intake import Intake, put_back
from gearmesh.worker.job import Job
from gearmesh.worker.job_table import JobTable
from gearmesh.worker.limits import Limits
from gearmesh.worker.observers import Observers
from gearmesh.worker.options import POOLS, Pool
from gearmesh.worker.pauses import Pauses
from gearmesh.worker.runner import Runner
from gearmesh.worker.task_log import TaskLog
from gearmesh.worker.threads import ThreadExecutor
from gearmesh.worker.unrunnable import UnrunnableMessages

__all__ = ["Worker"]

log = logging.getLogger("gearmesh.worker")

T = TypeVar("T")

#: Running tasks that are named one by one when the worker stops.
MAX_SHOWN_TASKS = 10
#: Seconds between two checks whether the intake has failed before it was ready.
READY_POLL_INTERVAL_S = 0.05
#: Seconds after which :meth:`Worker.run` wakes, so that signal handlers run. Python runs them in the main thread, and
#: does not wake it for a signal that comes just before it begins to wait, or that comes to another thread.
SIGNAL_CHECK_INTERVAL_S = 1.0
#: Seconds between two lines about the tasks that a stopping worker waits for.
STOPPING_INTERVAL_S = 5.0


class Worker:
    """Runs an app's tasks until it is stopped.

    The ``gearmesh worker`` command puts a supervising process above it; used directly, as in tests, it sends its
    own heartbeats.

    Args:
        app: the app whose tasks run, with its broker and backend.
        queues: names of the queues to read; None: the app's default queue.
        queue_order: ``"fair"``, ``"strict"``, or a weight for each queue; see :class:`~.options.WorkerOptions`.
        concurrency: how many tasks run at a time; at least 1.
        consumer: the name under which it consumes; None: a new name. No other worker may use the name, before or after
            this one.
        heartbeats: False if another process sends them.
        pool: ``"threads"``, or ``"asyncio"``: ``async def`` tasks on one loop, others in at most 8 threads.
        soft_limit: the soft limit in seconds of tasks that set none. A task that runs longer gets a
            :exc:`~gearmesh.errors.SoftLimitExceeded`. None or 0: no limit.
        hard_limit: the hard limit in seconds of tasks that set none, at which the process is killed; only with the pool
            ``"processes"``.
        max_tasks: the number of tasks after which the worker sets ``worn_out`` and begins no further ones; None: never.
        task_log_limit: the number of tasks a second that get log lines of their own, see :class:`~.task_log.TaskLog`;
            0: all.
        scoreboard: the memory in which the worker shows its supervisor which tasks run. The pool ``"processes"`` needs
            it, and the supervisor makes it.
        observers: observers of this worker, in addition to those of the app.

    Raises:
        ConfigError: an argument is wrong, or a task has a hard limit, which this pool can't keep.
    """

    def __init__(
        self,
        app: App,
        queues: Sequence[str] | None = None,
        concurrency: int = 10,
        *,
        queue_order: QueueOrder = "fair",
        consumer: str | None = None,
        heartbeats: bool = True,
        pool: Pool = "threads",
        soft_limit: float | None = None,
        hard_limit: float | None = None,
        max_tasks: int | None = None,
        scoreboard: Scoreboard | None = None,
        task_log_limit: int = 0,
        observers: Sequence[TaskObserver] = (),
    ) -> None:
        _check_pool(pool, concurrency, scoreboard)
        self.app = app
        self.queues = tuple(dict.fromkeys(queues or (app.config.default_queue,)))
        for queue in self.queues:
            slot_tag(queue)
            app.config.check_queue(queue, reads=True)
        self._unacked = open_unacked(app.config, consumer)
        self._choice = BrokerChoice(app.broker_choice.index, app.broker_choice)
        self._heartbeats = heartbeats
        picker_of(queue_order)
        self._queue_order = queue_order
        jobs = self._jobs = JobTable()
        task_log = self._task_log = TaskLog(task_log_limit)
        runner = self._runner = Runner(app, task_log)
        seen_by = Observers((*app.observers, *observers))
        committer = self._committer = Committer(self._connections(), app.backend, jobs, runner, seen_by)
        self._unrunnable = UnrunnableMessages(
            app.backend, app.tasks, app.config.unregistered_max_age, committer, runner
        )
        self._limits = Limits(app.tasks, soft_limit, hard_limit)
        self._scoreboard = scoreboard
        #: An event that is set once the worker has begun its last task, and should be replaced.
        self.worn_out = threading.Event()
        self._left = max_tasks
        self._left_lock = threading.Lock()
        run: Callable[[Job], Commit] = seen_by.around(runner.run)
        arun: Callable[[Job], Awaitable[Commit]] = seen_by.around_async(runner.arun)
        if pool != "processes":
            self._limits.need_processes()
        elif self._limits.any_hard:
            run = self._timed(run)
        if max_tasks is not None:
            run, arun = self._counted(run), self._counted(arun)
        places = None if scoreboard is None else scoreboard.places
        self._executor: Executor
        if pool == "asyncio":
            self._executor = AsyncExecutor(concurrency, run, arun, committer.add, places)
        else:
            self._executor = ThreadExecutor(concurrency, run, committer.add, places)
        self._pauses = Pauses()
        self._intake = Intake(
            self._connections(follows=False),
            self.queues,
            jobs,
            self._executor,
            committer,
            tasks=app.tasks,
            runner=runner,
            limits=self._limits,
            unrunnable=self._unrunnable,
            task_log=task_log,
            unacked=self._unacked,
            scoreboard=scoreboard,
            pauses=self._pauses,
        )
        self._lock = threading.Lock()
        self._started = False
        self._stopped = threading.Event()
        self._over = threading.Event()
        #: ends the wait of :meth:`run`; a signal handler may set it
        self._run_over = Wakeup()
        self._unwatch: Callable[[], None] = lambda: None
        self._failure: BaseException | None = None

    @property
    def consumer(self) -> str:
        """The name under which this worker consumes."""
        return self._unacked.consumer

    @property
    def ready(self) -> threading.Event:
        """Set once it consumes."""
        return self._intake.ready

    @property
    def slots(self) -> int:
        """The number of tasks that it runs at a time."""
        return self._executor.slots

    @property
    def held(self) -> int:
        """The number of deliveries that it holds."""
        return len(self._jobs)

    def take_reaped(self) -> dict[str, int]:
        """Return, by queue, how many deliveries of silent workers it has put back since the last call."""
        return self._unacked.take_reaped()

    def use_broker(self, index: int) -> None:
        """Try the broker with this number first, if there are several. Call it before :meth:`start`."""
        self._choice.use(index)

    def pause(self, queues: Sequence[str], tasks: Sequence[str]) -> None:
        """Pause these queues and tasks, and no others, until the next call."""
        self._pauses.set(queues, tasks)
        self._intake.fetch_if_room()

    def resize(self, slots: int) -> None:
        """Run ``slots`` tasks at a time from now on; see :meth:`.Executor.resize`."""
        self._executor.resize(slots)
        self._intake.fetch_if_room()

    def running(self) -> list[Job]:
        """Return the jobs that have begun and are not settled."""
        return self._jobs.running()

    def start(self, timeout: float | None = 10.0) -> Worker:
        """Begin, in threads of its own, and wait until it consumes. After :meth:`stop` nothing happens.

        Args:
            timeout: seconds to wait for that; None: do not wait.

        Raises:
            GearmeshError: the broker could not be reached in that time (the worker goes on trying).
            Exception: the error that ended the intake, if it was not a lost connection.
        """
        with self._lock:
            if not self._started and not self._stopped.is_set():
                self._started = True
                self._executor.start()
                events = _Events(self)
                self._committer.start(events)
                self._intake.start(events)
                self._unwatch = self.app.revocations.watch(self._on_revoked)
                if self.app.config.watched:
                    self.app.watch_config()
        if timeout is not None and self._started:
            self._wait_until_ready(timeout)
        return self

    def _wait_until_ready(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._intake.ready.wait(min(READY_POLL_INTERVAL_S, max(deadline - time.monotonic(), 0.0))):
            if self._failure is not None:
                raise self._failure
            if time.monotonic() >= deadline:
                raise GearmeshError(
                    f"worker: the broker {self.app.masked_broker} was not reached in {timeout:g} s"
                )

    def run(self) -> None:
        """Work until another thread calls :meth:`stop`, also one that a signal handler has started.

        The handler itself must not call it: it may have interrupted a call that :meth:`stop` waits for.

        Raises:
            Exception: the error that ended the intake, if it was not a lost connection.
        """
        self.start(timeout=None)
        while not self._over.is_set():
            self._run_over.wait(SIGNAL_CHECK_INTERVAL_S)
        if self._failure is not None:
            raise self._failure

    def _end(self) -> None:
        self._over.set()
        self._run_over.set()

    def stop(self, timeout: float = 30.0) -> bool:
        """Fetch nothing more, finish the running tasks, and give back the others. Stopping twice is fine.

        Args:
            timeout: seconds for running tasks to end. A task that runs longer goes back to its queue, and another
                worker runs it again. Its thread here can't commit any more.

        Returns:
            True if everything ended in time.
        """
        with self._lock:
            if self._stopped.is_set() or not self._started:
                self._stopped.set()
                self._end()
                return True
            self._stopped.set()
        deadline = time.monotonic() + timeout
        self._take_no_more(timeout)
        running = self._jobs.running()
        ended = self._wait_for_tasks(deadline)
        drained = self._committer.drain(max(1.0, deadline - time.monotonic()))
        self._committer.stop(5.0)
        self._unwatch()
        unfinished = len(self._jobs.running())
        self.leave()
        if running:
            done = max(0, len(running) - unfinished)
            log.info("finished %d of %s", done, counted(len(running), "running task"))
        self._runner.loop.stop()
        self._end()
        return ended and drained

    def _wait_for_tasks(self, deadline: float) -> bool:
        """Wait until no task runs, and log every few seconds which ones do; True if all ended before ``deadline``."""
        while True:
            left = max(0.0, deadline - time.monotonic())
            if self._executor.join(min(left, 0.05)):
                return True
            if left == 0:
                return False
            self._log_running(left)
            if self._executor.join(min(left, STOPPING_INTERVAL_S)):
                return True
            self._task_log.flush()

    def _log_running(self, left: float) -> None:
        running = self._jobs.running()
        if not running:
            return
        now = time.monotonic()
        shown = [
            f"{job.sig.Name} {short_id(job.sig.UUID)} ({duration(now - job.started_at)})"
            for job in running[:MAX_SHOWN_TASKS]
        ]
        if len(running) > MAX_SHOWN_TASKS:
            shown.append(f"and {len(running) - MAX_SHOWN_TASKS} more")
        log.info(
            "waiting up to %s for %s: %s",
            duration(math.ceil(left)),
            counted(len(running), "running task"),
            ", ".join(shown),
        )

    def leave(self) -> None:
        """Return all unacked deliveries to their queues at once, and log the summary of the tasks.

        The summary counts the tasks that got no log lines of their own.

        Tasks that are still running can't commit any more.
        """
        connection = self._connections()()
        try:
            count = connection.channel().recover(self.consumer, self.queues)
            if count:
                log.warning(
                    "returned %s to %s",
                    counted(count, "unfinished task"),
                    "its queue" if count == 1 else "their queues",
                )
        except (*connection.connection_errors, *connection.channel_errors) as exc:
            away = isinstance(exc, connection.connection_errors)  # else a queue's key now holds another type
            log.warning(
                "the broker %s: unfinished tasks return to their queues when the lease of %s ends: %s",
                "is unreachable" if away else "refuses",
                duration(self.app.config.lease),
                reason_of(exc),
            )
        finally:
            close_quietly(connection)
            self._task_log.close()

    def beat(self) -> None:
        """Send this worker's heartbeats from now on, until :meth:`stop`. Before, another process sent them."""

        connect = self._connections()

        def loop() -> None:
            while not self._over.is_set():
                connection = connect()
                try:
                    channel = connection.channel()
                    while not self._over.is_set():
                        channel.heartbeat(self.consumer, self.queues)
                        self._over.wait(self.app.config.lease / 3)
                except connection.connection_errors as exc:
                    log.warning("heartbeats are not sent, the broker is unreachable: %s", reason_of(exc))
                    self._over.wait(1.0)
                finally:
                    close_quietly(connection)

        threading.Thread(target=loop, name="gearmesh-heartbeat", daemon=True).start()

    def wear_out(self) -> None:
        """Begin no more tasks and set :attr:`worn_out`; the owner should then :meth:`finish` it and make another."""
        if not self.worn_out.is_set():
            self._executor.stop()
            self.worn_out.set()

    def finish(self, timeout: float) -> bool:
        """Fetch no more messages, and return those that have not begun; True if all tasks ended within ``timeout`` s.

        You may call it again; call :meth:`stop` after it.
        """
        self._take_no_more(timeout)
        return self._executor.join(timeout)

    def _take_no_more(self, timeout: float) -> None:
        self._intake.stop(min(timeout, 20.0))
        self._executor.stop()
        put_back(self._intake.take_back() + self._executor.take_back(), self._committer)

    def __enter__(self) -> Worker:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _connections(self, *, follows: bool = True) -> Callable[[], kombu.Connection]:
        """Return a function that makes connections to the broker; none is connected yet.

        The intake chooses one of several brokers, and the other parts follow, to settle its deliveries on that broker.
        """
        return lambda: connect(
            self.app.config,
            consumer=self.consumer,
            choice=self._choice,
            follows=follows,
            unacked=self._unacked,
            heartbeats=self._heartbeats,
            queue_order=self._queue_order,
        )

    def _timed(self, run: Callable[[Job], Commit]) -> Callable[[Job], Commit]:
        """Run jobs with their hard limits on the scoreboard, at which the supervisor kills this process."""
        scoreboard = self._scoreboard
        assert scoreboard is not None

        def timed(job: Job) -> Commit:
            scoreboard.limit(self._limits.hard(job.task) or 0)
            try:
                return run(job)
            finally:
                scoreboard.limit(0)

        return timed

    def _counted(self, run: Callable[[Job], T]) -> Callable[[Job], T]:
        def counted(job: Job) -> T:
            self._count()
            return run(job)

        return counted

    def _count(self) -> None:
        assert self._left is not None
        with (
            self._left_lock
        ):  # all slots count; Python without the GIL loses counts that are made at the same time
            self._left -= 1
        if self._left <= 0:
            self.wear_out()

    def _on_revoked(self, uuids: set[str]) -> None:
        """Interrupt running jobs that were revoked; the runner drops the others when their turn comes."""
        for job in self._jobs.running():
            if job.sig.UUID in uuids:
                self._executor.interrupt(job, SoftLimitExceeded(message=REVOKED_ERROR))

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._end()


def _check_pool(pool: str, concurrency: int, scoreboard: Scoreboard | None) -> None:
    """Raise ConfigError for a pool that a worker cannot have."""
    if pool == "processes" and (concurrency != 1 or scoreboard is None):
        raise ConfigError("pool is 'processes', which only the command 'gearmesh worker' has")
    if pool not in POOLS:
        raise ConfigError(f"pool is {pool!r}, expected one of {', '.join(POOLS)}")
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise ConfigError(f"concurrency is {concurrency!r}, expected a whole number above 0")


class _Events(WorkerEvents):
    """Passes the events of a worker's intake and committer on to its other parts."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def may_take(self) -> bool:
        return self._worker.app.handlers.may_consume(self._worker)

    def intake_failed(self, error: BaseException) -> None:
        self._worker._fail(error)

    def flushed(self) -> None:
        self._worker._intake.fetch_if_room()

    def tick(self) -> None:
        executor = self._worker._executor
        executor.nudge()
        self._worker._limits.interrupt_late(self._worker._jobs, executor)

    def stalled(self, stalled: bool) -> None:
        if stalled:
            self._worker._executor.hold()
        else:
            self._worker._executor.resume()
            self._worker._intake.retry_now()

    def removed(self, delivery: Delivery, outcome: Outcome) -> None:
        self._worker._unrunnable.settled(delivery, outcome)
