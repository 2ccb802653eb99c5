"""Lists the messages that have arrived in RabbitMQ's default queue, and how."""

from __future__ import annotations

from gearmesh.transports.amqp.publisher import duplicate_attempt_of
from gearmesh.transports.registry import open_connection
from gearmesh.wire.codec import decode


def found(url: str, queue: str = "machinery_tasks") -> list[tuple[int, bool]]:
    """The argument of each message, and whether it says that it may have been sent before."""
    with open_connection(url) as connection, connection.channel().browse(queue, 1 << 30) as all_:
        return [
            (
                int(bytes((decode(bytes(message.body)).Args or ())[0].Value)),
                duplicate_attempt_of(message.properties) > 0,
            )
            for message in all_
        ]
