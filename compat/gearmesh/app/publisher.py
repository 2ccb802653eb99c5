"""Publishing: PENDING before the message, everything once, in batches."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from gearmesh.app.publisher_pool import PublisherConnection, PublisherPool
from gearmesh.backoff import OutageLog
from gearmesh.batching import divided
from gearmesh.config import Config
from gearmesh.errors import GearmeshError, PublishError
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import Commit
from gearmesh.transports.registry import connect
from gearmesh.transports.single_attempt import BrokerChoice
from gearmesh.units import duration
from gearmesh.urls import redact
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["Publisher", "RetryDecider"]

log = logging.getLogger("gearmesh.publisher")

#: Called with what went wrong: waits a while and returns True to try again, False to give up.
RetryDecider = Callable[[BaseException], bool]

#: Messages, and bytes of them, that go in one batch.
MAX_BATCH_MESSAGES, MAX_BATCH_BYTES = 256, 500_000
#: Batches that may be on their way together, where the broker confirms some time later.
MAX_BATCHES_IN_FLIGHT = 8
#: Seconds between two attempts: the first pause, doubling to the longest.
FIRST_RETRY_DELAY_S, MAX_RETRY_DELAY_S = 0.05, 1.0


#: Seconds that a server may be unreachable before that is logged.
OUTAGE_LOG_DELAY_S = 1.0


class Publisher:
    """Sends Commits that settle nothing. Safe in threads and after a fork.

    A batch whose outcome is unknown (the connection broke before the answer) is repeated on a new connection until
    ``config.publish_timeout``. Redis takes it once, by its token; RabbitMQ may have what it has not confirmed twice.

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
        self._broker_outage = OutageLog(log, lambda: f"broker {self._shown()}")
        self._backend_outage = OutageLog(log, lambda: f"result backend {redact(self._config().backend)}")

    def send(
        self, commits: Sequence[Commit], *, connections: int = 1, should_retry: RetryDecider | None = None
    ) -> None:
        """Publish; in order unless there are several ``connections``.

        Args:
            should_retry: decides in place of ``publish_timeout`` whether it is tried again.

        Raises:
            PublishError: not done within ``publish_timeout`` seconds; names broker, queue and UUIDs' count.
        """
        batches = [commits] if len(commits) == 1 else list(_batches(commits))
        if connections > 1 and len(batches) > 1:
            with ThreadPoolExecutor(min(connections, len(batches)), "gearmesh-publish") as pool:
                list(pool.map(lambda batch: self._send([batch], len(commits), should_retry), batches))
        else:
            self._send(batches, len(commits), should_retry)

    def store(
        self,
        states: Sequence[TaskState],
        metas: Sequence[GroupMeta] = (),
        *,
        should_retry: RetryDecider | None = None,
    ) -> None:
        """Write states and group metas that must be there before anything is sent. Raises PublishError."""
        backend = self._backend()

        def store() -> None:
            for meta in metas:
                backend.create_group(meta)
            backend.write(states)

        self._repeat(store, backend, self._backend_outage, self._unwritten, should_retry)

    def close(self) -> None:
        """Close connections that are not in use. Publishing again opens new ones."""
        self._pool.close()

    def _send(
        self, batches: Sequence[Sequence[Commit]], total: int, should_retry: RetryDecider | None
    ) -> None:
        """Send batches over one connection, in order; ``total`` messages are sent by this call, perhaps over others."""
        with self._pool.acquire() as connection:
            at = 0
            while at < len(batches):
                some = batches[at : at + (MAX_BATCHES_IN_FLIGHT if connection.streams else 1)]
                in_flight = _InFlight(connection, some)
                failed = partial(self._unsent, in_flight, batches[:at], total)
                self._repeat(in_flight.flush, connection, self._broker_outage, failed, should_retry)
                at += len(in_flight.begun)

    def _repeat(
        self,
        attempt: Callable[[], None],
        server: PublisherConnection | Backend,
        outage: OutageLog,
        failed: Callable[[BaseException, float], PublishError],
        should_retry: RetryDecider | None,
    ) -> None:
        timeout = self._config().publish_timeout
        began, pause = time.monotonic(), FIRST_RETRY_DELAY_S
        while True:
            try:
                attempt()
                outage.worked()
                return
            except GearmeshError:
                raise
            except Exception as exc:
                left = began + timeout - time.monotonic()
                again = isinstance(exc, server.connection_errors) and (
                    left > 0 if should_retry is None else should_retry(exc)
                )
                if not again:
                    raise failed(exc, time.monotonic() - began) from exc
                if should_retry is None and time.monotonic() - began >= OUTAGE_LOG_DELAY_S:
                    outage.failed(exc, f"this call keeps trying for {duration(math.ceil(left))}", since=began)
            if should_retry is None:
                time.sleep(min(pause, left))
                pause = min(pause * 2, MAX_RETRY_DELAY_S)

    def _unsent(
        self,
        in_flight: _InFlight,
        before: Sequence[Sequence[Commit]],
        total: int,
        exc: BaseException,
        seconds: float,
    ) -> PublishError:
        left = in_flight.left
        queues = sorted({publish.queue for commit in left for publish in commit.publishes})
        first = next((state for commit in left for state in commit.states), None)
        what = f"task {first.TaskName!r} ({first.TaskUUID})" if first else "the message"
        if total > 1:
            what = f"{total} messages ({sum(map(len, before)) + in_flight.confirmed} confirmed), {what} among them,"
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
        """A queue as its user knows it; on RabbitMQ the default one is reached by another routing key."""
        config = self._config()
        if routing_key == config.default_routing_key != config.default_queue:
            return f"{config.default_queue!r} (routing key {routing_key!r})"
        return repr(routing_key)

    def _shown(self) -> str:
        return ", ".join(map(redact, self._config().brokers))


class _InFlight:
    """The batches that one connection sends under one token, until the broker has confirmed them.

    A repetition only does what the first try had begun, since nothing else of it can have been sent, and leaves out
    what the broker has confirmed.
    """

    def __init__(self, connection: PublisherConnection, batches: Sequence[Sequence[Commit]]) -> None:
        self._connection = connection
        self._batches = batches
        self._token = connection.token()
        #: The batches that were begun, without their states, which are written.
        self._bare: list[list[Commit]] = []
        #: The number of messages that the broker has confirmed.
        self.confirmed = 0

    @property
    def begun(self) -> Sequence[Sequence[Commit]]:
        """The batches that were begun one by one; all, where they go together or none was begun yet."""
        return self._batches[: len(self._bare) or None]

    @property
    def left(self) -> list[Commit]:
        """The Commits that are not confirmed."""
        return [commit for batch in self._batches for commit in batch][self.confirmed :]

    def flush(self) -> None:
        """Send them, or send again what is left. The connection is closed after an error, whose outcome is unknown."""
        try:
            flusher = self._connection.flusher()
            if flusher.atomic:
                flusher.flush([commit for batch in self.begun for commit in batch], self._token)
            elif flusher.streaming is None:
                flusher.flush([commit for batch in self._chunks() for commit in batch], self._token)
            else:
                flusher.streaming.stream(self._chunks(self.confirmed), self._confirm, again=bool(self._bare))
        except Exception:
            self._connection.close()
            raise

    def _chunks(self, skip: int = 0) -> Iterator[list[Commit]]:
        for i, batch in enumerate(self.begun):
            if i == len(self._bare):
                # Once only: a repeated PENDING could replace what a quick worker has written since.
                if states := [state for commit in batch for state in commit.states]:
                    self._connection.backend.write(states)
                self._bare.append([Commit(publishes=commit.publishes) for commit in batch])
            yield self._bare[i][skip:]
            skip = max(0, skip - len(batch))

    def _confirm(self, count: int) -> None:
        self.confirmed += count


def _batches(commits: Sequence[Commit]) -> Iterator[Sequence[Commit]]:
    return divided(commits, _body_bytes, max_items=MAX_BATCH_MESSAGES, max_bytes=MAX_BATCH_BYTES)


def _body_bytes(commit: Commit) -> int:
    total = 0
    for publish in commit.publishes:
        total += len(publish.body)
    return total
