"""Sends heartbeats for a supervisor's children, and recovers the deliveries of dead ones, over a connection of its own.

It also runs the reaper for other workers, since it is connected while its children start and are replaced.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import kombu

from gearmesh.app.app import App
from gearmesh.backoff import MAX_RETRY_DELAY_S, Backoff
from gearmesh.commits.flusher import Flusher
from gearmesh.errors import GearmeshError
from gearmesh.interfaces.commit import Commit, Delivery
from gearmesh.interfaces.transport import CountsReaped, RedeliversOnDisconnect
from gearmesh.metrics.report import TaskCounts
from gearmesh.metrics.totals import Totals
from gearmesh.service import Service
from gearmesh.transports.registry import connect
from gearmesh.units import counted
from gearmesh.wire.codec import decode
from gearmesh.worker.committer import close_quietly
from gearmesh.worker.history_writer import HistoryWriter
from gearmesh.worker.job import Job
from gearmesh.worker.limits import Limits
from gearmesh.worker.runner import Runner

__all__ = ["DeadChild", "Heartbeater"]

log = logging.getLogger("gearmesh.supervisor")

#: Attempts to settle a death before it is abandoned; attempts that fail since a server is unreachable do not count.
MAX_SETTLE_ATTEMPTS = 3


@dataclass(eq=False)
class DeadChild:
    """A worker process that has ended, and the deliveries that it held, to be settled.

    Attributes:
        consumer: the name under which it consumed.
        running: fetch counters of the jobs that ran; their messages are isolated from now on.
        overdue: fetch counters of the jobs for which it was killed at the hard limit; they fail.
        certain: True if one of the running jobs caused the death; False: there may have been another reason.
        crashed: False if it ended on an order: then its end does not count against the messages that it held.
        settled: True once its deliveries are settled or back in their queues.
        abandoned: True if that failed for another reason than an unreachable server. The deliveries return to their
            queues when the lease or the connection of the process ends.
        attempts: the number of attempts that failed for such a reason.
    """

    consumer: str
    running: Sequence[int] = ()
    overdue: Sequence[int] = ()
    certain: bool = True
    crashed: bool = True
    settled: bool = False
    abandoned: bool = False
    attempts: int = 0


class Heartbeater:
    """Sends heartbeats and settles deaths, in a thread with a connection of its own.

    Work that is due while the broker is unreachable is done when the broker is back.

    Args:
        on_change: called when a death is settled, and when the broker is lost.
        totals: take the supervisor's counts; None: they are not kept.
        history: writes over this connection; None: no history is kept.
    """

    def __init__(
        self,
        app: App,
        queues: Sequence[str],
        limits: Limits,
        on_change: Callable[[], None],
        *,
        totals: Totals | None = None,
        history: HistoryWriter | None = None,
    ) -> None:
        self._totals = totals or Totals()
        self._history = history
        self._app = app
        self._queues = queues
        self._limits = limits
        self._on_change = on_change
        self._interval_s = app.config.lease / 3
        #: consumer -> a function that says if its process is stopped
        self._living: dict[str, Callable[[], bool]] = {}
        self._stopped: set[str] = set()
        self._newborn = False
        self._deaths: deque[DeadChild] = deque()
        self._wake = threading.Event()
        self._connection: kombu.Connection | None = None
        self._channel: Any = None
        #: False while the broker is unreachable
        self.reached = True
        self._service = Service("gearmesh-heartbeat", self._loop, self._wake.set)

    def connect(self) -> None:
        """Connect to the broker; raise GearmeshError if that fails. Call it before :meth:`start`."""
        self._connection = connect(self._app.config, choice=self._app.broker_choice)
        try:
            self._channel = self._connection.channel()
        # If RabbitMQ refuses a login, py-amqp raises an error of a channel.
        except (*self._connection.connection_errors, *self._connection.channel_errors) as exc:
            self._disconnect()
            raise GearmeshError(f"broker {self._app.masked_broker} cannot be reached: {exc}") from exc

    def start(self) -> None:
        self._service.start()

    def born(self, consumer: str, is_stopped: Callable[[], bool] = lambda: False) -> None:
        """Send heartbeats for a consumer from now on, except while its process is stopped."""
        self._living[consumer] = is_stopped
        self._newborn = True
        self._wake.set()

    def died(self, death: DeadChild) -> None:
        """Send no more heartbeats for a dead child, and recover its deliveries at once, before its lease ends."""
        self._living.pop(death.consumer, None)
        self._stopped.discard(death.consumer)
        self._deaths.append(death)
        self._wake.set()

    def close(self, timeout: float = 5.0) -> None:
        """End the thread, and wait ``timeout`` seconds for that. A call before start, or a second one, is fine."""
        self._service.stop(timeout)
        if not self._service.started:
            self._disconnect()

    # -- the thread

    def _loop(self) -> None:
        backoff = Backoff(min(0.1, self._interval_s), min(MAX_RETRY_DELAY_S, self._interval_s))
        next_beat = next_look = 0.0
        while not self._service.stopping.is_set():
            self._wake.clear()
            try:
                if self._channel is None:
                    self.connect()
                if time.monotonic() >= next_beat or self._newborn:
                    next_beat = time.monotonic() + self._interval_s
                    self._beat()
                self._settle()
                if time.monotonic() >= next_look:
                    next_look = time.monotonic() + self._reap()
                self.reached = True
                backoff.reset()
                pause = min(next_beat, next_look) - time.monotonic()
                if self._history is not None:
                    pause = min(pause, self._history.step(self._channel, self._errors()))
                self._wake.wait(max(0.0, pause))
            except self._errors() as exc:
                if self.reached:
                    self._totals.reconnecting()
                self.reached = False
                backoff.log(
                    log, f"heartbeats are not sent, broker {self._app.masked_broker} is unreachable", exc
                )
                self._disconnect()
                self._on_change()
                next_beat = next_look = 0.0
                self._wake.wait(backoff.next())
            except Exception as exc:  # without this thread the children would lose their leases
                log.critical("heartbeats: %r", exc, exc_info=True)
                self._disconnect()
                self._wake.wait(backoff.next())
        if self._history is not None and self._channel is not None and self.reached:
            try:
                self._history.write(self._channel)
            except Exception as exc:  # the broker is unreachable, or refuses: the worker ends all the same
                log.debug("the last seconds of the history are not written: %s", exc)
        self._disconnect()

    def _beat(self) -> None:
        self._newborn = False
        for consumer, is_stopped in list(self._living.items()):
            if not is_stopped():
                self._stopped.discard(consumer)
                asked_at = time.monotonic()
                self._channel.heartbeat(consumer, self._queues)
                self._totals.answered(time.monotonic() - asked_at)
            elif consumer not in self._stopped:
                # A busy process keeps its tasks. A stopped process may never go on, and others can run its tasks.
                self._stopped.add(consumer)
                log.warning(
                    "a worker process is stopped (SIGSTOP or a debugger), and gets no heartbeats until it goes on: "
                    "other workers take over its messages when its lease, or its connection, ends",
                    extra={"consumer": consumer},
                )

    def _reap(self) -> float:
        """Recover the deliveries of silent workers, and return the seconds until the next look."""
        try:
            return float(self._channel.reap(self._queues))
        finally:
            if isinstance(self._channel, CountsReaped):
                self._totals.reaped(self._channel.take_reaped())

    def _settle(self) -> None:
        while self._deaths:
            death = self._deaths[0]
            try:
                self._settle_one(death)
                death.settled = True
            except self._unreachable():
                raise
            except Exception as exc:
                death.attempts += 1
                if death.attempts < MAX_SETTLE_ATTEMPTS:
                    raise
                log.error(
                    "could not return the tasks of the dead worker process to their queues; "
                    "they return when its lease ends: %r",
                    exc,
                )
                death.abandoned = True
            self._deaths.popleft()
            self._on_change()

    def _settle_one(self, death: DeadChild) -> None:
        if death.overdue:
            try:
                self._fail(death)
            except self._unreachable():
                raise
            except Exception as exc:  # its message goes back with the others, and the task runs again
                log.error("a task could not be failed after its hard limit: %r", exc, exc_info=exc)
        count = self._channel.recover(
            death.consumer,
            self._queues,
            crashed=death.crashed,
            running=death.running,
            certain=death.certain,
        )
        self._totals.returned(count)
        if count:
            log.warning("returned %s of the dead worker process to the queue", counted(count, "task"))

    def _fail(self, death: DeadChild) -> None:
        """Settle the jobs for which a child was killed, unless the child has. A repetition finds no such jobs."""
        held = {
            delivery.id: (delivery, body)
            for delivery, body in self._channel.held(death.consumer, self._queues)
        }
        for number in death.overdue:
            if number in held:
                delivery, body = held[number]
                Flusher(self._channel, self._app.backend).flush([self._overdue(delivery, body)])
                self._totals.count_tasks(TaskCounts(decode(body).Name, delivery.queue, "overdue", 1))
        if isinstance(self._channel, RedeliversOnDisconnect):
            # RabbitMQ has requeued the other messages already: the worker that receives one settles it.
            self._channel.mark_overdue([number for number in death.overdue if number not in held])

    def _overdue(self, delivery: Delivery, body: bytes) -> Commit:
        sig = decode(body)
        task = self._app.tasks[sig.Name]
        job = Job(sig, task, delivery, time.monotonic())
        return Runner(self._app).fail_overdue(job, self._limits.hard(task) or 0)

    def _errors(self) -> tuple[type[BaseException], ...]:
        return (GearmeshError, *self._unreachable())

    def _unreachable(self) -> tuple[type[BaseException], ...]:
        """Return the exceptions that calls raise while the broker or the backend is unreachable."""
        errors: tuple[type[BaseException], ...] = self._app.backend.connection_errors
        return errors if self._connection is None else (*errors, *self._connection.connection_errors)

    def _disconnect(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            close_quietly(connection)
