"""Fetches deliveries from the broker, decodes them, and gives jobs to the executor: one thread, one connection."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import kombu

from gearmesh.app.task import Task
from gearmesh.backoff import Backoff
from gearmesh.errors import GearmeshError, RemoteProtocolError
from gearmesh.interfaces.commit import Commit, Settle
from gearmesh.interfaces.transport import Channel, RateRequest
from gearmesh.scoreboard import Scoreboard
from gearmesh.service import Service
from gearmesh.transports.unacked import UnackedDeliveries
from gearmesh.units import counted
from gearmesh.wire.codec import decode
from gearmesh.wire.state import STARTED
from gearmesh.worker.committer import Committer, close_quietly
from gearmesh.worker.duplicates import DuplicateHold
from gearmesh.worker.events import WorkerEvents
from gearmesh.worker.executor import Executor
from gearmesh.worker.job import Job
from gearmesh.worker.job_table import JobTable
from gearmesh.worker.limits import Limits
from gearmesh.worker.pauses import Pauses
from gearmesh.worker.quarantine import MAX_CRASHES, Quarantine
from gearmesh.worker.queue_consumer import QueueConsumer
from gearmesh.worker.runner import Runner
from gearmesh.worker.task_log import TaskLog, about
from gearmesh.worker.unrunnable import UnrunnableMessages

__all__ = ["Intake"]

log = logging.getLogger("gearmesh.worker")

#: Seconds between two checks whether jobs should be given back.
GIVE_BACK_INTERVAL_S = 1.0
#: Seconds after which the intake tells the committer that jobs run. Most jobs have ended by then, and their Commits
#: wake the committer. If it woke at once, it would take the interpreter's lock from the thread that is to run the job.
WATCH_DELAY_S = 0.025
#: Seconds between two questions whether the intake may fetch again.
MAY_TAKE_POLL_INTERVAL_S = 0.1


class Intake:
    """Fetches deliveries in a thread with a connection of its own.

    Args:
        connect: makes a kombu connection (not connected yet) whose channels consume under the worker's name.
        queues: the names of the queues to read.
        jobs: the worker's jobs; the intake adds new ones.
        executor: gets the jobs that may run.
        committer: gets the Commits of messages that must not run.
        tasks: the registered tasks, by name.
        runner: makes the Commits of jobs that must not run again.
        limits: give the hard limit at which a job's process was killed.
        unrunnable: settles messages that cannot be decoded, or whose task is not registered here.
        task_log: logs the received tasks.
        unacked: the worker's unacked deliveries, and which of them were lost with their connection.
        scoreboard: shows the supervisor when an isolated job begins; None: no supervisor.
        pauses: queues and tasks that are paused.
    """

    def __init__(
        self,
        connect: Callable[[], kombu.Connection],
        queues: Sequence[str],
        jobs: JobTable,
        executor: Executor,
        committer: Committer,
        *,
        tasks: Mapping[str, Task[..., Any, Any]],
        runner: Runner,
        limits: Limits,
        unrunnable: UnrunnableMessages,
        task_log: TaskLog,
        unacked: UnackedDeliveries,
        scoreboard: Scoreboard | None = None,
        pauses: Pauses | None = None,
    ) -> None:
        self._pauses = pauses or Pauses()
        #: queues that are not consumed from, since they are paused
        self._paused: frozenset[str] = frozenset()
        self._connect = connect
        self._queues = queues
        self._tasks = tasks
        self._unrunnable = unrunnable
        self._task_log = task_log
        self._jobs = jobs
        self._executor = executor
        self._committer = committer
        self._runner = runner
        self._limits = limits
        self._unacked = unacked
        self._events = WorkerEvents()
        self._losses = 0
        self._quarantine = Quarantine(jobs, executor, lambda back: put_back(back, committer), scoreboard)
        self._fresh: list[Job] = []
        #: True if the executor has got jobs of which the committer does not know yet
        self._unwatched = False
        #: jobs of limited rate, with their messages, for which no moment is reserved yet
        self._rated: list[tuple[Job, bytes]] = []
        self._duplicates = DuplicateHold(jobs)
        self._channel: Any = None
        self._wanted = 0
        self._checked_at = 0.0
        self._retry_now = threading.Event()
        #: set once consuming
        self.ready = threading.Event()
        self._service = Service("gearmesh-intake", self._loop, self._wake)
        self._stopping = self._service.stopping

    def start(self, events: WorkerEvents) -> None:
        """Start the thread, which reports ``events``."""
        self._events = events
        self._service.start()

    def stop(self, timeout: float) -> bool:
        """Fetch nothing any more; True if the thread ended within ``timeout`` seconds."""
        return self._service.stop(timeout)

    def take_back(self) -> list[Job]:
        """Withdraw the jobs that the executor has not got. Call it once the thread has ended."""
        fresh = [job for job, _ in self._rated] + self._duplicates.take_back() + self._fresh
        self._rated, self._fresh = [], []
        return self._quarantine.take_back() + sorted(fresh, key=lambda job: job.delivery.id)

    def retry_now(self) -> None:
        """Connect again at once, since the broker may be back. Any thread."""
        self._retry_now.set()

    def fetch_if_room(self) -> None:
        """Wake the thread if it may fetch more, since deliveries were settled. Any thread."""
        hungry = self._executor.waiting * 4 <= self._wanted and len(self._jobs) < self._wanted
        if hungry or self._quarantine.busy or self._duplicates:
            self._wake_channel()

    def _wake(self) -> None:
        self._retry_now.set()
        self._wake_channel()

    def _wake_channel(self) -> None:
        channel = self._channel
        if channel is not None:
            channel.wake()

    # -- the thread

    def _loop(self) -> None:
        backoff = Backoff()
        while not self._stopping.is_set():
            connection = self._connect()
            errors = connection.connection_errors
            try:
                self._consume(connection, backoff)
            except errors as exc:
                backoff.log(log, "the broker is unreachable, no tasks are taken", exc)
                close_quietly(connection)
                self._drop_lost()
                self._retry_now.clear()
                if not self._stopping.is_set():
                    self._retry_now.wait(backoff.next())
            except BaseException as exc:
                # A GearmeshError names the setting or the queue; a traceback adds nothing.
                log.critical("intake stopped: %s", exc, exc_info=not isinstance(exc, GearmeshError))
                close_quietly(connection)
                self._events.intake_failed(exc)
                return
            finally:
                self._channel = None
                self._watch()
        self.ready.set()

    def _consume(self, connection: kombu.Connection, backoff: Backoff) -> None:
        channel = connection.channel()
        self._paused = self._pauses.queues
        self._wanted = self._executor.wanted
        channel.basic_qos(0, self._wanted, False)
        self._channel = channel
        self._committer.retry_now()
        taking = True
        with QueueConsumer(channel, self._receive, connection.connection_errors) as consumer:
            consumer.begin(self._active)
            if not self.ready.is_set():
                log.info("consuming from %s", ", ".join(self._queues))
                self.ready.set()
            elif backoff.count:
                log.info("consuming again: the broker is reachable")
            while not self._stopping.is_set():
                if self._events.may_take() is not taking:
                    taking = not taking
                    log.info(
                        "taking tasks again"
                        if taking
                        else "taking no tasks: a before_consume handler returned False"
                    )
                    # The connection is served all the same: heartbeats and delayed tasks depend on it.
                    consumer.begin(self._active) if taking else consumer.end()
                if self._pauses.queues != self._paused:
                    self._pause(consumer, taking=taking)
                longest = GIVE_BACK_INTERVAL_S if taking else MAY_TAKE_POLL_INTERVAL_S
                try:
                    connection.drain_events(
                        timeout=self._duplicates.pause(
                            min(longest, WATCH_DELAY_S) if self._unwatched else longest
                        )
                    )
                except TimeoutError:
                    pass
                finally:
                    self._watch()
                    if self._submit_fresh():  # jobs came, so the broker was reachable, at least before
                        backoff.reset()
                backoff.reset()
                self._drop_lost()
                self._begin_duplicates()
                self._reserve(channel)
                self._quarantine.step()
                self._give_back()
                self._unrunnable.report()
                self._task_log.flush()
                # An isolated job is the only one that this worker may hold.
                wanted = 1 if self._quarantine.busy else self._executor.wanted + self._duplicates.extra
                if wanted != self._wanted:
                    self._wanted = wanted
                    channel.basic_qos(0, wanted, False)
            self._channel = None
        connection.close()

    @property
    def _active(self) -> list[str]:
        """The queues that are not paused."""
        return [name for name in self._queues if name not in self._paused]

    def _pause(self, consumer: QueueConsumer, *, taking: bool) -> None:
        """Consume from the queues that are not paused, and from no others."""
        self._paused = self._pauses.queues
        consumer.end(self._paused)
        if taking:
            consumer.begin(self._active)
        back = self._executor.take_back()
        self._executor.submit([job for job in back if job.delivery.queue not in self._paused])
        put_back([job for job in back if job.delivery.queue in self._paused], self._committer)
        log.info("paused queues: %s", ", ".join(sorted(self._paused)) or "none")

    def _drop_lost(self) -> None:
        """Drop jobs that were lost with their connection and have not begun: the broker redelivers them."""
        losses = self._unacked.losses
        if losses == self._losses:
            return
        self._losses = losses
        held = [job.delivery.id for job in self._jobs.snapshot()]
        orphaned = {id_ for id_ in held if self._unacked.orphaned(id_)}
        back = self._executor.take_back()
        ours = [job for job in back if job.delivery.id not in orphaned]
        if ours:
            self._executor.submit(ours)
        isolated = self._quarantine.take_back()
        for job in isolated:
            if job.delivery.id not in orphaned:
                self._quarantine.add(job)
        others = [job for job, _ in self._rated] + self._duplicates.take_back(orphaned)
        self._rated = [(job, body) for job, body in self._rated if job.delivery.id not in orphaned]
        put_back([job for job in back + isolated + others if job.delivery.id in orphaned], self._committer)

    def _begin_duplicates(self) -> None:
        """Begin the possible duplicates that have waited long enough."""
        if not self._duplicates:
            return
        if self._quarantine.busy:  # an isolated job begins when nothing else is held
            put_back(self._duplicates.take_back(), self._committer)
            return
        for job, body in self._duplicates.begin(self._executor.wanted):
            self._route(job, body)
        self._submit_fresh()

    def _reserve(self, channel: Channel) -> None:
        """Reserve moments for jobs of limited rate: those whose moment is now run, the others wait in the broker."""
        if not self._rated:
            return
        answers = channel.reserve(
            [
                RateRequest(job.delivery.queue, job.sig.Name, job.task.pause or 0.0, body)
                for job, body in self._rated
            ]
        )
        rated, self._rated = self._rated, []
        for (job, _), at_ns in zip(rated, answers, strict=True):
            if at_ns:
                self._committer.add(Commit(settle=Settle(job.delivery, "later", at_ns=at_ns)), job)
            else:
                self._fresh.append(job)
        self._submit_fresh()

    def _submit_fresh(self) -> bool:
        """Give the jobs that were fetched to the executor; True if there were any."""
        if not self._fresh:
            return False
        fresh, self._fresh = self._fresh, []
        if [job for job in fresh if job.sig.Priority]:  # nearly never; any() takes three times as long
            # Sort only the jobs that were fetched: Go workers read the queue, too, so its order stays.
            fresh.sort(key=lambda job: -job.sig.Priority)
        if self._quarantine.busy:
            put_back(fresh, self._committer)
        else:
            self._executor.submit(fresh)
        self._unwatched = True
        return True

    def _watch(self) -> None:
        """Tell the committer about jobs that were submitted before and still run."""
        if self._unwatched:
            self._unwatched = False
            if self._jobs:
                self._committer.watch_jobs()

    def _receive(self, message: Any) -> None:
        delivery = message.delivery
        try:
            sig = decode(message.body)
        except RemoteProtocolError as exc:
            self._committer.add(self._unrunnable.refuse(message.body, delivery, exc))
            return
        task = self._tasks.get(sig.Name)
        if task is None:
            self._committer.add(self._unrunnable.park(sig, delivery))
            return
        if sig.Name in self._pauses.tasks:
            self._committer.add(self._pauses.put_off(delivery))
            return
        job = Job(sig, task, delivery, time.monotonic())
        due = self._duplicates.due(job) if delivery.redelivered or delivery.republished else 0.0
        self._jobs[delivery.id] = job
        self._task_log.received(job)
        if due:
            job.shown = STARTED  # the worker with the other copy writes the task's state
            self._duplicates.add(job, message.body, due)
        else:
            self._route(job, message.body)

    def _route(self, job: Job, body: bytes) -> None:
        """Let a job wait for the executor, for its rate or in quarantine, or settle it at once."""
        delivery = job.delivery
        if delivery.overdue:
            limit = self._limits.hard(job.task) or 0
            self._committer.add(self._runner.fail_overdue(job, limit), job)
        elif delivery.crash_count is None:
            if job.task.pause is None:
                self._fresh.append(job)
            else:
                self._rated.append((job, body))
        elif delivery.crash_count >= MAX_CRASHES:
            self._committer.add(
                self._runner.dead_letter(job, f"its process died {MAX_CRASHES} times while it ran alone"), job
            )
        elif self._quarantine.defers(job):
            log.info("returned to the tail of its queue: its process died while it ran", extra=about(job.sig))
            self._committer.add(Commit(settle=Settle(delivery, "tail")), job)
        else:
            self._quarantine.add(job)

    def _give_back(self) -> None:
        """Give back jobs that wait behind long tasks: other workers may begin them sooner."""
        now = time.monotonic()
        if now - self._checked_at < GIVE_BACK_INTERVAL_S:
            return
        self._checked_at = now
        if not self._executor.waiting or self._quarantine.busy:
            return
        held = self._duplicates.ids
        oldest = next((job for job in self._jobs.snapshot() if job.delivery.id not in held), None)
        if oldest is not None and now - oldest.received_at > GIVE_BACK_INTERVAL_S:
            put_back(self._executor.take_back(), self._committer)


def put_back(jobs: Sequence[Job], committer: Committer) -> None:
    """Return jobs that were not begun to the head of their queues, in their order."""
    if jobs:
        log.info("returned %s that had not begun", counted(len(jobs), "task"))
    # Return the newest first: each goes to the head, before all others.
    for job in reversed(jobs):
        committer.add(Commit(settle=Settle(job.delivery, "head")), job)
