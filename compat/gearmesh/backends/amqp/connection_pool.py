"""Keeps connections to RabbitMQ, over which several methods can be on their way at a time.

Go opens a connection for every operation (110 tasks/s). Here each process has a pool that lends a connection to one
thread at a time. A batch of publishes waits once for all its confirms, a batch of reads once for all its answers.
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
#: Seconds to wait for a connection, and for any answer.
ANSWER_TIMEOUT_S: Final = 15.0
#: Seconds between the heartbeats that RabbitMQ expects. It closes a connection after two or three missing heartbeats.
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
        tag: the message's delivery tag, for :meth:`ResultChannel.basic_ack`; 0: there was no message.
        body: the message's bytes.
        left: the number of messages that are still ready in the queue.
    """

    tag: int
    body: bytes = b""
    left: int = 0


class StateMessage(NamedTuple):
    """Holds a state's bytes, and the queue or exchange to which they are published.

    Attributes:
        declare: called with the channel before any message is published; must not wait.
        transient: True: the message may reach no queue, and need not survive a restart.
    """

    exchange: str
    routing_key: str
    body: bytes
    declare: Callable[[Any], None] | None = None
    transient: bool = False


class ResultChannel(amqp.Channel):  # type: ignore[misc]  # py-amqp has no types
    """A channel in confirm mode on which several methods may be on their way.

    After an error of the channel (``amqp.ChannelError``), py-amqp has opened it again, and RabbitMQ has returned its
    unacked deliveries to their queues.
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
        # py-amqp waits for one answer at a time, but calls these callbacks for each answer: so many may be on their way
        # at a time.
        self._callbacks[spec.Basic.GetOk] = self._got
        self._callbacks[spec.Basic.GetEmpty] = self._got_none

    def prepare(self) -> None:
        """Begin with confirm mode and nothing on its way: after the opening, and after an error of the channel."""
        self.answers = []
        self._open_tags.clear()
        self._unrouted.clear()
        self._refused = self._tag = 0
        self.confirm_select()

    def get_each(self, queues: Sequence[str]) -> list[FetchedState]:
        """Get the oldest message of each queue, in order. It stays unacked until the caller acknowledges or rejects it.

        Raises ``amqp.NotFound`` if a queue does not exist; :attr:`answers` has the answers that came before that.
        """
        self.answers = []
        for start in range(0, len(queues), MAX_IN_FLIGHT_METHODS):
            part = queues[start : start + MAX_IN_FLIGHT_METHODS]
            self._send_together(spec.Basic.Get, [dumps("Bsb", (0, queue, False)) for queue in part])
            while len(self.answers) < start + len(part):
                self.connection.drain_events(timeout=ANSWER_TIMEOUT_S)
        return self.answers

    def take_all(self, queue: str, expected: int) -> list[FetchedState]:
        """Get all messages of a queue, in order, unacked; ``expected``: about how many. Raises ``amqp.NotFound``."""
        held: list[FetchedState] = []
        ask = max(expected, 1)
        while ask:
            answers = self.get_each([queue] * ask)
            held += [got for got in answers if got.tag]
            ask = answers[-1].left if answers[-1].tag else 0
        return held

    def put_back(self) -> None:
        """Requeue the channel's unacked messages at their old places, and wait until RabbitMQ has done so."""
        self.send_method(spec.Basic.Recover, "b", (True,), wait=spec.Basic.RecoverOk)

    def publish_each(self, messages: Sequence[StateMessage]) -> list[tuple[str, bytes]]:
        """Publish, and wait for all confirms; return routing key and body of the messages that reached no queue.

        Raises ``amqp.exceptions.MessageNacked`` if RabbitMQ refused a message. It may have taken any of the others.
        """
        self._unrouted.clear()
        for message in messages:  # all of them first: if one is refused, nothing is published
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
        """Send one method several times in one write, so that no other method gets between them."""
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
    """Return the body of a message as bytes; py-amqp gives an empty body as str."""
    return body.encode() if isinstance(body, str) else bytes(body)


class _Connection(amqp.Connection):  # type: ignore[misc]  # py-amqp has no types
    Channel = ResultChannel


class PooledConnection:
    """One connection and its channel, for one thread at a time.

    Args:
        options: arguments of ``amqp.Connection``: host, userid, password, virtual_host, ssl.
        prepare: called with the new channel, to declare queues and exchanges.

    Attributes:
        channel: the channel that lives as long as the connection.
        used_at: monotonic time of the last use.
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
        """Open one more channel, ready to be used. The caller must close it."""
        channel: ResultChannel = self._connection.channel()
        channel.prepare()
        return channel

    def await_events(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for a delivery to a consumer, and send a heartbeat if one is due."""
        with contextlib.suppress(TimeoutError):
            self._connection.drain_events(timeout=timeout)
        self._connection.heartbeat_tick()

    @property
    def stale(self) -> bool:
        """True if it is closed, or was unused for so long that RabbitMQ may close it any moment."""
        if not self._connection.connected or time.monotonic() - self.used_at > MAX_UNUSED_S:
            return True
        try:
            self._connection.drain_events(timeout=0)  # RabbitMQ may have closed it
        except TimeoutError:
            return False
        except Exception as exc:
            log.debug("a kept connection is gone: %s", exc)
        return True

    def close(self) -> None:
        """Close the connection; if RabbitMQ does not answer, abandon it."""
        try:
            self._connection.close()
        except Exception as exc:
            log.debug("closing a connection: %s", exc)
            self.abandon()

    def abandon(self) -> None:
        """Close the socket without AMQP's closing handshake. RabbitMQ requeues its unacked deliveries at once."""
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
        """Lend a connection for a ``with`` block. If the block raises, the connection is not lent again."""
        link = self._take() or self.open()
        try:
            yield link
        except BaseException as exc:
            link.abandon()
            if isinstance(exc, CONNECTION_ERRORS):  # the idle ones are older, and probably broken, too
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
            self.close()  # the other idle connections are older
            link.close()
            return None
        return link
