"""Connections to RabbitMQ that are kept, and what one can do over one without waiting for each answer.

Go opens a connection for every operation (110 tasks/s). Here a pool a process lends connections, each to one thread at
a time; a batch of publishes waits once for its confirms, a batch of reads once for its answers.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from struct import pack
from typing import Any, Final, NamedTuple

import amqp
from amqp import spec
from amqp.exceptions import MessageNacked
from amqp.serialization import dumps

__all__ = [
    "CONNECTION_ERRORS",
    "ConnectionPool",
    "FetchedState",
    "PooledConnection",
    "ResultChannel",
    "StateMessage",
    "as_bytes",
]

log = logging.getLogger("gearmesh.amqp")

#: These errors mean that RabbitMQ could not be reached, or has closed the connection; the caller may try again.
CONNECTION_ERRORS: Final[tuple[type[BaseException], ...]] = (amqp.ConnectionError, MessageNacked, OSError)
#: Seconds for a connection to be made, and for any answer.
ANSWER_TIMEOUT_S: Final = 15.0
#: Seconds between heartbeats that RabbitMQ is to expect. It closes a connection that was silent for two or three.
HEARTBEAT_INTERVAL_S: Final = 60
#: Seconds unused after which a connection is not used again: RabbitMQ may be about to close it.
MAX_UNUSED_S: Final = 25.0
#: The largest number of idle connections that are kept.
MAX_IDLE_CONNECTIONS: Final = 8
#: The largest number of methods without an answer yet, and their bytes.
MAX_IN_FLIGHT_METHODS, MAX_IN_FLIGHT_BYTES = 256, 4 << 20

#: The first and the last byte of the frame of a method.
_FRAME_METHOD, _FRAME_END = 1, b"\xce"
#: Properties of a state's message, as Go writes them.
_STATE_PROPERTIES: Final = {"content_type": "application/json", "delivery_mode": 2}


class FetchedState(NamedTuple):
    """Holds RabbitMQ's answer to a basic.get on a queue of states.

    Attributes:
        tag: of the message, for :meth:`ResultChannel.basic_ack`; 0: there was none.
        body: its bytes. left: how many more are ready in the queue.
    """

    tag: int
    body: bytes = b""
    left: int = 0


class StateMessage(NamedTuple):
    """Holds a state's bytes, and the queue or exchange that they are published to.

    Attributes:
        declare: called with the channel before any is published; must not wait.
        transient: no consumer has to get it, and it need not survive a restart.
    """

    exchange: str
    routing_key: str
    body: bytes
    declare: Callable[[Any], None] | None = None
    transient: bool = False


class ResultChannel(amqp.Channel):  # type: ignore[misc]  # py-amqp has no types
    """A channel in confirm mode on which several methods may be on their way.

    An error of the channel (``amqp.ChannelError``) leaves it open anew; what it held is back in its queues.
    """

    def __init__(self, connection: Any, channel_id: int | None = None, **options: Any) -> None:
        self.answers: list[FetchedState] = []
        self._open_tags: set[int] = set()
        self._refused = self._tag = 0
        self._unrouted: list[tuple[str, bytes]] = []
        super().__init__(connection, channel_id, auto_decode=False, **options)
        self.events["basic_ack"].add(self._confirmed)
        self.events["basic_nack"].add(self._refuse)
        self.events["basic_return"].add(self._returned)

    def _setup_listeners(self) -> None:
        super()._setup_listeners()
        # py-amqp has one waiter at a time, and calls these callbacks beside it: so many answers may come.
        self._callbacks[spec.Basic.GetOk] = self._got
        self._callbacks[spec.Basic.GetEmpty] = self._got_none

    def prepare(self) -> None:
        """Confirm mode, with nothing on its way: after it was opened, and after an error of the channel."""
        self.answers = []
        self._open_tags.clear()
        self._unrouted.clear()
        self._refused = self._tag = 0
        self.confirm_select()

    def get_each(self, queues: Sequence[str]) -> list[FetchedState]:
        """The oldest message of each queue, in order; held until it is acknowledged or rejected.

        Raises ``amqp.NotFound`` if there is no such queue; :attr:`answers` has the messages that came before that.
        """
        self.answers = []
        for start in range(0, len(queues), MAX_IN_FLIGHT_METHODS):
            part = queues[start : start + MAX_IN_FLIGHT_METHODS]
            self._send_together(spec.Basic.Get, [dumps("Bsb", (0, queue, False)) for queue in part])
            while len(self.answers) < start + len(part):
                self.connection.drain_events(timeout=ANSWER_TIMEOUT_S)
        return self.answers

    def take_all(self, queue: str, expected: int) -> list[FetchedState]:
        """All messages of a queue, in order, held; quickest with their number. Raises ``amqp.NotFound``."""
        held: list[FetchedState] = []
        ask = max(expected, 1)
        while ask:
            answers = self.get_each([queue] * ask)
            held += [got for got in answers if got.tag]
            ask = answers[-1].left if answers[-1].tag else 0
        return held

    def put_back(self) -> None:
        """Put all that the channel holds back to where it was; RabbitMQ has done so when this returns."""
        self.send_method(spec.Basic.Recover, "b", (True,), wait=spec.Basic.RecoverOk)

    def publish_each(self, messages: Sequence[StateMessage]) -> list[tuple[str, bytes]]:
        """Publish, and wait until RabbitMQ has confirmed all; routing key and body of those that led to no queue.

        Raises ``amqp.exceptions.MessageNacked`` if it refused one: which of the others it took is not known.
        """
        self._unrouted.clear()
        for message in messages:  # all of them first: where one is refused, nothing was published
            if message.declare is not None:
                message.declare(self)
        size = 0
        for message in messages:
            kind = {"delivery_mode": 1} if message.transient else _STATE_PROPERTIES
            content = amqp.Message(message.body, **kind)
            self._tag += 1
            self._open_tags.add(self._tag)
            self.basic_publish(
                content, message.exchange, message.routing_key, mandatory=not message.transient
            )
            size += len(message.body)
            if len(self._open_tags) >= MAX_IN_FLIGHT_METHODS or size > MAX_IN_FLIGHT_BYTES:
                self._await_confirms()
                size = 0
        self._await_confirms()
        if self._refused:
            self._refused = 0
            raise MessageNacked("RabbitMQ did not take a state")
        return list(self._unrouted)

    def size(self, queue: str) -> int | None:
        """The number of messages that are ready in a queue; None: there is no such queue."""
        try:
            return int(self.queue_declare(queue, passive=True).message_count)
        except amqp.NotFound:
            self.prepare()
            return None

    def _send_together(self, method: tuple[int, int], arguments: Sequence[bytes]) -> None:
        """One method several times, in one write: nothing of this process's gets between them."""
        head = pack(">HH", *method)
        frames = [
            pack(">BHI", _FRAME_METHOD, self.channel_id, len(head) + len(each)) + head + each + _FRAME_END
            for each in arguments
        ]
        if self.connection is None:
            raise amqp.RecoverableConnectionError("connection already closed")
        self.connection.transport.write(b"".join(frames))

    def _await_confirms(self) -> None:
        while self._open_tags:
            self.connection.drain_events(timeout=ANSWER_TIMEOUT_S)

    def _confirmed(self, tag: int, multiple: bool) -> None:
        if multiple:
            self._open_tags = {each for each in self._open_tags if each > tag}
        else:
            self._open_tags.discard(tag)

    def _refuse(self, tag: int, multiple: bool) -> None:
        self._refused += 1
        self._confirmed(tag, multiple)

    def _returned(self, exc: Exception, exchange: str, routing_key: str, message: Any) -> None:
        self._unrouted.append((routing_key, as_bytes(message.body)))

    def _got(self, tag: int, redelivered: bool, exchange: str, key: str, left: int, message: Any) -> None:
        self.answers.append(FetchedState(tag, as_bytes(message.body), left))

    def _got_none(self, *_: object) -> None:
        self.answers.append(FetchedState(0))


def as_bytes(body: str | bytes) -> bytes:
    """Return the body of one of py-amqp's messages, for which an empty one is text."""
    return body.encode() if isinstance(body, str) else bytes(body)


class _Connection(amqp.Connection):  # type: ignore[misc]  # py-amqp has no types
    Channel = ResultChannel


class PooledConnection:
    """One connection and its channel, for one thread at a time.

    Args:
        options: of ``amqp.Connection``: host, userid, password, virtual_host, ssl.
        prepare: declares what has to be there, on the channel.

    Attributes:
        channel: the one that is always there. used_at: monotonic time of the last use.
    """

    def __init__(self, options: dict[str, Any], prepare: Callable[[ResultChannel], None]) -> None:
        self._connection = _Connection(
            connect_timeout=ANSWER_TIMEOUT_S,
            read_timeout=ANSWER_TIMEOUT_S,
            write_timeout=ANSWER_TIMEOUT_S,
            heartbeat=HEARTBEAT_INTERVAL_S,
            on_blocked=self._blocked,
            **options,
        )
        try:
            self._connection.connect()
            self.channel: ResultChannel = self.another_channel()
            prepare(self.channel)
        except BaseException:
            self.abandon()
            raise
        self.used_at = time.monotonic()

    def another_channel(self) -> ResultChannel:
        """One more channel, ready to be used; close it."""
        channel: ResultChannel = self._connection.channel()
        channel.prepare()
        return channel

    def await_events(self, timeout: float) -> None:
        """Serve the connection for up to ``timeout`` seconds: what comes for its consumers, and its heartbeats."""
        with contextlib.suppress(TimeoutError):
            self._connection.drain_events(timeout=timeout)
        self._connection.heartbeat_tick()

    @property
    def stale(self) -> bool:
        """It is closed, or was unused for so long that RabbitMQ may close it any moment."""
        if not self._connection.connected or time.monotonic() - self.used_at > MAX_UNUSED_S:
            return True
        try:
            self._connection.drain_events(timeout=0)  # RabbitMQ may have said goodbye
        except TimeoutError:
            return False
        except Exception as exc:
            log.debug("a kept connection is gone: %s", exc)
        return True

    def close(self) -> None:
        """Say goodbye, if anybody listens."""
        try:
            self._connection.close()
        except Exception as exc:
            log.debug("closing a connection: %s", exc)
            self.abandon()

    def abandon(self) -> None:
        """Drop it without a word: what it held goes back at once."""
        with contextlib.suppress(Exception):
            self._connection.collect()

    def _blocked(self, reason: str) -> None:
        log.warning(
            "RabbitMQ blocks publishing (%s): writing a result waits for up to %g s", reason, ANSWER_TIMEOUT_S
        )


class ConnectionPool:
    """Lends connections to the threads of one process, the last used first.

    Args:
        open: makes a connection; may raise :data:`CONNECTION_ERRORS`.
    """

    def __init__(self, open: Callable[[], PooledConnection]) -> None:
        #: makes a connection that belongs to the caller
        self.open = open
        self._lock = threading.Lock()
        self._idle: list[PooledConnection] = []

    @contextlib.contextmanager
    def lend(self) -> Iterator[PooledConnection]:
        """A connection for a ``with`` block. One that was used by something that failed is not lent again."""
        link = self._take() or self.open()
        try:
            yield link
        except BaseException as exc:
            link.abandon()
            if isinstance(exc, CONNECTION_ERRORS):  # the others are from before the trouble, too
                self.close(PooledConnection.abandon)
            raise
        link.used_at = time.monotonic()
        with self._lock:
            if len(self._idle) < MAX_IDLE_CONNECTIONS:
                self._idle.append(link)
                return
        link.close()

    def close(self, end: Callable[[PooledConnection], None] = PooledConnection.close) -> None:
        """Close the idle connections."""
        with self._lock:
            links, self._idle = self._idle, []
        for link in links:
            end(link)

    def _take(self) -> PooledConnection | None:
        with self._lock:
            link = self._idle.pop() if self._idle else None
        if link is not None and link.stale:
            self.close()  # those below it are older
            link.close()
            return None
        return link
