"""Asks RabbitMQ about a queue before anything is declared: a declaration would repair what is wrong."""

from __future__ import annotations

from typing import Any

from amqp.basic_message import Message
from amqp.connection import Connection as RawConnection
from amqp.exceptions import AMQPError, NotFound

from gearmesh.app.app import App
from gearmesh.urls import AMQPTarget, parse

__all__ = ["delete_queue", "queue_fault"]


def queue_fault(app: App, queue: str, probe: bytes) -> str:
    """Say what is wrong with the queue that a Go worker is said to consume; ``""``: nothing, or it is no RabbitMQ.

    Args:
        app: names the broker, the exchange and the binding key.
        queue: the workers' queue.
        probe: a signature for that queue. It is published, once, if the queue can get it.
    """
    target = parse(app.config.brokers[0], "broker")
    if not isinstance(target, AMQPTarget):
        return ""
    with _connected(target) as connection:
        channel: Any = connection.channel()
        try:
            consumers = channel.queue_declare(queue, passive=True).consumer_count
        except NotFound:
            return f"queue {queue!r} does not exist: no worker has declared it"
        if not consumers:
            return f"queue {queue!r} exists, and no worker consumes it"
        exchange, key = app.config.amqp.exchange, app.config.amqp.binding_key or queue
        if not _is_bound(connection, exchange, key, probe):
            return (
                f"queue {queue!r} has {consumers} consumer{'s' * (consumers > 1)}, but exchange {exchange!r} has no "
                f"queue bound with the key {key!r}: it is bound wrongly, or with another key (--binding-key). "
                "Go's NewCustomQueueWorker binds its queue with the key of the default queue, and gets a copy of "
                "each of its tasks"
            )
    return ""


def _is_bound(connection: RawConnection, exchange: str, key: str, probe: bytes) -> bool:
    """Publish a probe that RabbitMQ returns if no queue gets it."""
    channel: Any = connection.channel()
    returned: list[int] = []
    channel.events["basic_return"].add(lambda *reply: returned.append(1))
    channel.confirm_select()
    try:
        channel.basic_publish_confirm(
            Message(probe, content_type="application/json", delivery_mode=2), exchange, key, mandatory=True
        )
    except NotFound:
        return False  # nor is there such an exchange
    except AMQPError:
        return not returned
    return not returned


def delete_queue(app: App, queue: str) -> None:
    """Delete a queue of a run, on RabbitMQ. One that does not exist is fine."""
    target = parse(app.config.brokers[0], "broker")
    if isinstance(target, AMQPTarget):
        with _connected(target) as connection:
            channel: Any = connection.channel()
            channel.queue_delete(queue)


def _connected(target: AMQPTarget) -> RawConnection:
    return RawConnection(**target.to_amqp(), confirm_publish=False)
