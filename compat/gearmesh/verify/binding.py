"""Asks the broker about a queue before the run declares anything, since a declaration would repair the fault."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from amqp.basic_message import Message
from amqp.connection import Connection as RawConnection
from amqp.exceptions import AMQPError, NotFound

from gearmesh.app.app import App
from gearmesh.errors import ConfigError
from gearmesh.urls import AMQPTarget, PubSubTarget, SQSTarget, parse
from gearmesh.wire.names import sqs_dead_letters

if TYPE_CHECKING:
    from gearmesh.transports.sqs.client import SQSClient

__all__ = ["delete_queue", "queue_fault"]


def queue_fault(app: App, queue: str, probe: bytes) -> str:
    """Return the fault of the queue that the Go workers should consume; ``""`` if the broker reports none.

    Args:
        app: the app that names the broker, the exchange and the binding key.
        queue: the workers' queue.
        probe: a signature for that queue. It is published, once, if the queue can get it.
    """
    target = parse(app.config.brokers[0], "broker")
    if isinstance(target, SQSTarget):
        if _sqs(app, target).queues.find(queue) is None:
            return f"queue {queue!r} does not exist on {app.masked_broker}"
        return ""
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
                f"queue bound with the key {key!r}: the queue is not bound to this exchange, or it is bound with "
                "another key (--binding-key). Go's NewCustomQueueWorker binds its queue with the key of the default "
                "queue, and gets a copy of each of its tasks"
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
        return False  # the exchange does not exist
    except AMQPError:
        return not returned
    return not returned


def delete_queue(app: App, queue: str) -> None:
    """Delete the queue of a run's own, on brokers that keep empty queues. A queue that does not exist is fine.

    Raises:
        GearmeshError: the broker refuses, or is unreachable.
    """
    target = parse(app.config.brokers[0], "broker")
    if isinstance(target, AMQPTarget):
        with _connected(target) as connection:
            raw: Any = connection.channel()
            raw.queue_delete(queue)
    elif isinstance(target, SQSTarget):
        client = _sqs(app, target)
        for name in (queue, sqs_dead_letters(queue)):
            if (found := client.queues.find(name)) is not None:
                client.call("delete_queue", QueueUrl=found.url)
    elif isinstance(target, PubSubTarget):
        from gearmesh.transports.pubsub.addresses import Addresses
        from gearmesh.transports.pubsub.api import PubSubAPI

        addresses = Addresses(target.project)
        with suppress(ConfigError):  # the run has ended before it made the topic
            PubSubAPI(addresses, app.config.gcppubsub.client).delete(
                addresses.topic(queue), addresses.subscription(queue)
            )


def _sqs(app: App, target: SQSTarget) -> SQSClient:
    from gearmesh.transports.sqs.client import client_of  # boto3 is an extra

    return client_of(target, app.config.sqs)


def _connected(target: AMQPTarget) -> RawConnection:
    return RawConnection(**target.to_amqp(), confirm_publish=False)
