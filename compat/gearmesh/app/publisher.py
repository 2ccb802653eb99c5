"""Publishes messages in batches, each message once and after its PENDING state."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from gearmesh.app.combined_batch import CombinedBatch
from gearmesh.app.combiner import MAX_BATCH_BYTES, MAX_BATCH_MESSAGES, Combiner, body_bytes, place_of
from gearmesh.app.in_flight import InFlight
from gearmesh.app.pending_call import PendingCall, finish
from gearmesh.app.publisher_pool import PublisherConnection, PublisherPool
from gearmesh.app.until_timeout import UntilTimeout
from gearmesh.backoff import OutageLog
from gearmesh.batching import divided
from gearmesh.config import Config
from gearmesh.errors import GearmeshError, PublishError
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import Commit
from gearmesh.process_local import ProcessLocal
from gearmesh.transports.broker_choice import BrokerChoice
from gearmesh.transports.registry import connect
from gearmesh.urls import redact
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["MAX_BATCH_MESSAGES", "Publisher", "RetryDecider"]

log = logging.getLogger("gearmesh.publisher")

#: Called with the error: waits a while and returns True to try again, or returns False to give up.
RetryDecider = Callable[[BaseException], bool]

#: Batches that may be on their way at the same time, if the broker confirms them some time later.
MAX_BATCHES_IN_FLIGHT = 8
#: Seconds between the first two attempts; the pauses double.
FIRST_RETRY_DELAY_S = 0.05


class Publisher:
    """Sends an app's calls in batches, and repeats a batch whose answer was lost. Safe in threads and after a fork.

    It repeats a batch whose outcome is unknown (the connection broke before the answer) on a new connection until
    ``config.publish_timeout``. Redis takes the batch once, by its token; RabbitMQ may take unconfirmed messages twice.

    Args:
        config: gives the app's settings.
        backend: gives its result backend.
        choice: which of several brokers this process uses; None: the first one that is reachable.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        backend: Callable[[], Backend],
        choice: BrokerChoice | None = None,
    ) -> None:
        self._config = config
        self._choice = choice or BrokerChoice()
        self._backend = backend
        self._pool = PublisherPool(lambda: connect(config(), choice=self._choice), backend)
        self._combiner = ProcessLocal(lambda: Combiner(self._send_together))
        self._broker_outage = OutageLog(log, lambda: f"broker {self._shown()}")
        self._backend_outage = OutageLog(log, lambda: f"result backend {redact(self._config().backend)}")

    def send(
        self, commits: Sequence[Commit], *, connections: int = 1, should_retry: RetryDecider | None = None
    ) -> None:
        """Publish; in order unless there are several ``connections``.

        Args:
            should_retry: decides, in place of ``publish_timeout``, whether to try again.

        Raises:
            PublishError: the broker did not take all messages within ``publish_timeout`` seconds. The text names the
                broker, the queue, a task and, for several messages, their number.
        """
        if len(commits) == 1 and should_retry is None:
            self._send_one(commits[0])
            return
        batches = list(_batches(commits))
        if connections > 1 and len(batches) > 1:
            with ThreadPoolExecutor(min(connections, len(batches)), "gearmesh-publish") as pool:
                list(pool.map(lambda batch: self._send([batch], len(commits), should_retry), batches))
        else:
            self._send(batches, len(commits), should_retry)

    async def asend(self, commit: Commit) -> None:
        """Publish one message without blocking the event loop. If the caller is cancelled before the message is on its
        way, the message is not sent.

        Raises PublishError; see :meth:`send`.
        """
        place = place_of(commit)
        if place is None:
            await asyncio.to_thread(self._send, [[commit]], 1)
            return
        call = PendingCall(commit, asyncio.get_running_loop())
        self._combiner.get().add(place, call)
        await call.await_()
        if call.error is not None:
            raise call.error
        if call.alone is not None:
            await asyncio.to_thread(self._send, [[call.alone]], 1)

    def store(
        self,
        states: Sequence[TaskState],
        metas: Sequence[GroupMeta] = (),
        *,
        should_retry: RetryDecider | None = None,
    ) -> None:
        """Write states and group metas that must be stored before a message is sent. Raises PublishError."""
        backend = self._backend()

        def store() -> None:
            for meta in metas:
                backend.create_group(meta)
            backend.write(states)

        self._repeat(store, backend, self._backend_outage, self._unwritten, should_retry)

    def close(self) -> None:
        """Close connections that are not in use. Publishing again opens new ones."""
        combiner = self._combiner.pop()
        if combiner is not None:
            combiner.close()
        self._pool.close()

    def _send_one(self, commit: Commit) -> None:
        """Send one message: alone if no other caller sends to its queue, else together with theirs."""
        place = place_of(commit)
        if place is None:
            self._send([[commit]], 1)
            return
        combiner = self._combiner.get()
        try:
            if combiner.enter(place, commit):
                self._send([[commit]], 1)
                return
        finally:
            combiner.leave(place, commit)
        call = PendingCall(commit)
        combiner.add(place, call)
        call.wait()
        if call.error is not None:
            raise call.error
        if call.alone is not None:
            self._send([[call.alone]], 1)

    def _send_together(
        self, calls: Sequence[PendingCall], overdue: Callable[[float], Sequence[PendingCall]]
    ) -> None:
        """Send the calls of several callers; see :class:`.Combiner`.

        While the outcome of the batch is unknown, repeat it without the calls whose time is over. After any other error
        each caller sends its call itself, so that it gets an error of its own call only.
        """
        timeout = self._config().publish_timeout
        with self._pool.acquire() as connection:
            batch = CombinedBatch(connection, calls)

            def left(exc: BaseException) -> float:
                now = time.monotonic()
                late = [*batch.take_overdue(now - timeout), *overdue(now - timeout)]
                for call in late:
                    call.error = self._unsent([call.commit], exc, now - call.began)
                finish(late)
                return max((call.began + timeout - now for call in batch.unconfirmed), default=0.0)

            should_retry = UntilTimeout(self._broker_outage, left, time.monotonic(), FIRST_RETRY_DELAY_S)
            while True:
                try:
                    batch.flush()
                    self._broker_outage.worked()
                    return
                except Exception as exc:
                    if not isinstance(exc, connection.connection_errors):
                        batch.part(exc)
                        return
                    if not should_retry(exc):
                        return

    def _send(
        self,
        batches: Sequence[Sequence[Commit]],
        total: int,
        should_retry: RetryDecider | None = None,
    ) -> None:
        """Send batches over one connection, in order; ``total`` counts the messages of other connections, too."""
        # Without the context manager, which takes time in every call of a task.
        connection = self._pool.take()
        try:
            at = 0
            while at < len(batches):
                some = batches[at : at + (MAX_BATCHES_IN_FLIGHT if connection.streams else 1)]
                in_flight = InFlight(connection, some)
                failed = partial(self._unsent_of, in_flight, total, sum(map(len, batches[:at])))
                self._repeat(in_flight.flush, connection, self._broker_outage, failed, should_retry)
                at += in_flight.begun
        except BaseException:
            connection.close()
            raise
        self._pool.put_back(connection)

    def _repeat(
        self,
        attempt: Callable[[], None],
        server: PublisherConnection | Backend,
        outage: OutageLog,
        failed: Callable[[BaseException, float], PublishError],
        should_retry: RetryDecider | None,
    ) -> None:
        began = time.monotonic()
        while True:
            try:
                attempt()
                outage.worked()
                return
            except GearmeshError:
                raise
            except Exception as exc:
                should_retry = should_retry or self._until_timeout(outage, began)
                if not isinstance(exc, server.connection_errors) or not should_retry(exc):
                    raise failed(exc, time.monotonic() - began) from exc

    def _until_timeout(self, outage: OutageLog, began: float) -> UntilTimeout:
        ends = began + self._config().publish_timeout
        return UntilTimeout(outage, lambda exc: ends - time.monotonic(), began, FIRST_RETRY_DELAY_S)

    def _unsent_of(
        self, in_flight: InFlight, total: int, before: int, exc: BaseException, seconds: float
    ) -> PublishError:
        count = f"{total} messages ({before + in_flight.confirmed} confirmed), " if total > 1 else ""
        return self._unsent(in_flight.left, exc, seconds, count)

    def _unsent(
        self, left: Sequence[Commit], exc: BaseException, seconds: float, count: str = ""
    ) -> PublishError:
        queues = sorted({publish.queue for commit in left for publish in commit.publishes})
        first = next((state for commit in left for state in commit.states), None)
        what = f"task {first.TaskName!r} ({first.TaskUUID})" if first else "the message"
        if count:
            what = f"{count}{what} among them,"
        return PublishError(
            f"{what} could not be published to queue {', '.join(map(self._queue, queues))} of "
            f"{self._shown()} within {seconds:.3g} s: {type(exc).__name__}: {exc}"
        )

    def _unwritten(self, exc: BaseException, seconds: float) -> PublishError:
        return PublishError(
            f"nothing was published: the result backend {redact(self._config().backend)} did not take the "
            f"PENDING states within {seconds:g} s: {type(exc).__name__}: {exc}"
        )

    def _queue(self, routing_key: str) -> str:
        """The name by which the user knows a queue; on RabbitMQ, another routing key may lead to the default queue."""
        config = self._config()
        if routing_key == config.default_routing_key != config.default_queue:
            return f"{config.default_queue!r} (routing key {routing_key!r})"
        return repr(routing_key)

    def _shown(self) -> str:
        return ", ".join(map(redact, self._config().brokers))


def _batches(commits: Sequence[Commit]) -> Iterator[Sequence[Commit]]:
    return divided(commits, body_bytes, max_items=MAX_BATCH_MESSAGES, max_bytes=MAX_BATCH_BYTES)
