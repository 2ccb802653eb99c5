"""Announces tasks that became final, through an exchange of gearmesh's, to all consumers bound to it.

Only gearmesh's workers announce, Go does not. A caller that misses it (after a broken connection, say) finds out by
asking, as for Go's.
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
    """Declare the exchange; each queue bound to it gets every message, and without a queue RabbitMQ drops it."""
    channel.exchange_declare(AMQP_DONE, "fanout", durable=False, auto_delete=False)


def announcement(states: Sequence[TaskState]) -> list[StateMessage]:
    """The message that tells of the final ones among these; none if none are."""
    words = words_of(states)
    return [StateMessage(AMQP_DONE, "", " ".join(words).encode(), transient=True)] if words else []


def listening(options: dict[str, Any]) -> Subscribe:
    """A subscription on a connection of its own; ``options``: of ``amqp.Connection``."""

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
