"""Carries requests over a fanout exchange of RabbitMQ, and replies over a queue of the client that asked."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import Any, Final

import amqp

from gearmesh.wire.names import AMQP_CONTROL

__all__ = ["AMQPLine"]

#: Seconds between heartbeats that RabbitMQ is to expect.
HEARTBEAT_INTERVAL_S: Final = 60
#: Seconds for making a connection, and for any answer.
ANSWER_TIMEOUT_S: Final = 15.0


class AMQPLine:
    """Carries requests and replies over RabbitMQ; a :class:`gearmesh.control.line.ControlLine`.

    Args:
        options: arguments of ``amqp.Connection``.
        listens: bind the line's queue to the exchange of requests, too.
    """

    connection_errors: tuple[type[BaseException], ...] = (amqp.ConnectionError, amqp.ChannelError, OSError)
    remembers = False

    def __init__(self, options: dict[str, Any], *, listens: bool) -> None:
        self._received: deque[bytes] = deque()
        self._connection: Any = amqp.Connection(
            connect_timeout=ANSWER_TIMEOUT_S,
            read_timeout=ANSWER_TIMEOUT_S,
            write_timeout=ANSWER_TIMEOUT_S,
            heartbeat=HEARTBEAT_INTERVAL_S,
            **options,
        )
        try:
            self._connection.connect()
            self._channel: Any = self._connection.channel()
            self._channel.exchange_declare(AMQP_CONTROL, "fanout", durable=False, auto_delete=False)
            # RabbitMQ chooses the name, and deletes the queue with the connection.
            self.address: str = self._channel.queue_declare("", exclusive=True).queue
            if listens:
                self._channel.queue_bind(self.address, AMQP_CONTROL)
            self._channel.basic_consume(self.address, no_ack=True, callback=self._take)
        except BaseException:
            self.close()
            raise

    def send(self, body: bytes, to: str = "") -> int | None:
        self._channel.basic_publish(amqp.Message(body), exchange="" if to else AMQP_CONTROL, routing_key=to)
        return None

    def receive(self, timeout: float) -> bytes | None:
        deadline = time.monotonic() + timeout
        while not self._received:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            # py-amqp's blocking read cannot have a time limit of 0, and heartbeats are sent between two reads.
            with contextlib.suppress(TimeoutError):
                self._connection.drain_events(timeout=min(max(left, 0.01), HEARTBEAT_INTERVAL_S / 4))
            self._connection.heartbeat_tick()
        return self._received.popleft()

    def paused(self) -> set[tuple[str, str]]:
        return set()

    def remember(self, kind: str, name: str, paused: bool) -> None:
        return

    def close(self) -> None:
        with contextlib.suppress(Exception):  # it may be broken
            self._connection.close()
        with contextlib.suppress(Exception):
            self._connection.collect()

    def _take(self, message: Any) -> None:
        body = message.body
        self._received.append(body.encode() if isinstance(body, str) else bytes(body))
