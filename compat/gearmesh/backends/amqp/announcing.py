"""Announces ended tasks through gearmesh's own exchange, to all consumers bound to it.

Only gearmesh workers announce; Go workers do not. A caller that misses an announcement, for example after a broken
connection, finds the state by polling, as it finds the states of Go's tasks.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Sequence
from typing import Any

from gearmesh.backends.amqp.connection_pool import PooledConnection, ResultChannel, StateMessage, as_bytes
from gearmesh.backends.announcement import words_of
from gearmesh.backends.listener import STOP_CHECK_INTERVAL_S, Subscribe
from gearmesh.wire.names import AMQP_DONE, done_queue
from gearmesh.wire.state import TaskState

__all__ = ["announcement", "declare_exchange", "listening"]


def declare_exchange(channel: Any) -> None:
    """Declare the exchange. Each queue bound to it gets every message; without a queue, RabbitMQ drops the message."""
    channel.exchange_declare(AMQP_DONE, "fanout", durable=False, auto_delete=False)


def announcement(states: Sequence[TaskState]) -> list[StateMessage]:
    """Return the message that announces the final states among these; an empty list if no state is final."""
    words = words_of(states)
    return [StateMessage(AMQP_DONE, "", " ".join(words).encode(), transient=True)] if words else []


def listening(options: dict[str, Any]) -> Subscribe:
    """Return a subscription that has its own connection; ``options``: arguments of ``amqp.Connection``."""

    def hear() -> Generator[list[str], None, None]:
        heard: list[str] = []

        def note(message: Any) -> None:
            heard.extend(as_bytes(message.body).decode(errors="replace").split(" "))

        def subscribe(channel: ResultChannel) -> None:
            declare_exchange(channel)
            queue = channel.queue_declare(done_queue(uuid.uuid4().hex), exclusive=True).queue
            channel.queue_bind(queue, AMQP_DONE)
            channel.basic_consume(queue, no_ack=True, callback=note)

        connection = PooledConnection(options, subscribe)
        try:
            while True:
                connection.await_events(STOP_CHECK_INTERVAL_S)
                words, heard[:] = heard[:], []
                yield words
        finally:
            connection.close()

    return hear
