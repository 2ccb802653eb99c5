"""The AMQP channel: py-amqp's channel with Machinery's queues, deliveries that outlive it, and Commits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from amqp import spec
from kombu.transport import pyamqp

from gearmesh.interfaces.commit import Delivery
from gearmesh.transports.amqp.commit_engine import LOST_HEADER, CommitEngine
from gearmesh.transports.amqp.delivery_tags import AckTracker
from gearmesh.transports.amqp.dispatch import Dispatcher
from gearmesh.transports.amqp.frames import Delivered, read_properties
from gearmesh.transports.amqp.inspection import Inspector
from gearmesh.transports.amqp.message import Message, body_of
from gearmesh.transports.amqp.poison_records import PoisonRecords
from gearmesh.transports.amqp.publisher import duplicate_attempt_of
from gearmesh.transports.amqp.subscription import FetchedMessage, Subscription
from gearmesh.transports.amqp.unacked import UNACKED_BY_CONSUMER, AMQPUnackedDeliveries, Unacked
from gearmesh.transports.queue_order import picker_of
from gearmesh.transports.rate_limit import RATE_LIMITERS
from gearmesh.transports.unacked import consumer_name

if TYPE_CHECKING:
    from gearmesh.transports.amqp.connection import AMQPConnection

__all__ = ["Channel"]

log = logging.getLogger("gearmesh.amqp")

#: Number of different properties that a channel keeps decoded.
_MAX_CACHED_PROPERTIES: Final = 256


class Channel(pyamqp.Channel):  # type: ignore[misc]
    """Gives one thread access to RabbitMQ: a kombu channel with the verbs of
    :class:`gearmesh.interfaces.transport.Channel`.

    kombu forces this class; the objects that it holds do the work: a :class:`~.dispatch.Dispatcher`, a
    :class:`~.commit_engine.CommitEngine`, an :class:`~.inspection.Inspector` and
    :class:`~.poison_records.PoisonRecords`.

    Transport options: ``consumer`` (name), ``unacked`` (a :class:`AMQPUnackedDeliveries` to go on with: its deliveries
    stay unacked when the channel closes, until they are settled), ``lease`` (seconds without a drain or a heartbeat
    after which the deliveries go back), ``heartbeats`` (False: the consumer lives as long as its process), ``amqp``
    (Machinery's settings), ``default_queue``, ``queue_order`` (see
    :data:`~gearmesh.transports.queue_order.QueueOrder`), ``patience`` (seconds to wait for RabbitMQ's answers),
    ``missing_ttl`` (seconds for which a missing queue of dead letters counts as empty without being asked for).
    """

    connection: AMQPConnection
    Message = Message
    #: RabbitMQ says only that it has delivered a message before, and not whether a consumer has lost it.
    counts_losses = False
    #: AMQP cannot list the queues that hold delayed messages.
    lists_delayed = False
    lists_pending = keeps_order = records_crashes = True
    #: RabbitMQ does not say which messages of a broken connection it has taken.
    publishes_once = False
    dead_batch = 1_000_000

    def __init__(self, connection: AMQPConnection, channel_id: int | None = None, **kwargs: Any) -> None:
        options = connection.options
        own = "unacked" not in options
        self.unacked: AMQPUnackedDeliveries = (
            UNACKED_BY_CONSUMER.get(options.get("consumer") or consumer_name()) if own else options["unacked"]
        )
        self.consumer: str = self.unacked.consumer
        #: True if the record is this channel's alone, so that its deliveries go back when the channel closes
        self.own_unacked = own
        self.lease = float(options.get("lease", 30.0))
        self.heartbeats = bool(options.get("heartbeats", True))
        self.supports_priority = "x-max-priority" in connection.topology.config.queue_declare_args
        self.link = connection
        self.poison_records = PoisonRecords(connection, self.unacked)
        rates = RATE_LIMITERS.get(f"{connection.host}/{connection.virtual_host}")
        self._bind_verbs(
            CommitEngine(connection, self.unacked, self.poison_records),
            Inspector(connection, self.poison_records, rates, self.barrier),
        )
        order = picker_of(options.get("queue_order", "fair"))
        self.dispatcher = Dispatcher(self, connection.lock, self.unacked, self.poison_records, order)
        self.deliver, self.due = self.dispatcher.deliver, self.dispatcher.due
        self.subscriptions = self.dispatcher.subscriptions
        self.woken = False
        self._sources: dict[str, Subscription] = {}
        self._declared: set[str] = set()
        self._kinds: dict[bytes, dict[str, Any]] = {}
        self._calls = 0
        super().__init__(connection, channel_id, auto_decode=False, **kwargs)
        self.tags = AckTracker(self, connection, self.channel_id)
        connection.consuming.append(self)

    def _bind_verbs(self, engine: CommitEngine, inspector: Inspector) -> None:
        """Make the verbs of the parts methods of this channel."""
        self.commit, self.stream, self.is_lost = engine.commit, engine.stream, engine.is_lost
        self.settle_one, self.put_back = engine.settle_one, engine.put_back
        self.held, self.heartbeat, self.recover = inspector.held, inspector.heartbeat, inspector.recover
        self.reap, self.reserve, self.mark_overdue = inspector.reap, inspector.reserve, inspector.mark_overdue
        self.pending, self.delayed, self.parked = inspector.pending, inspector.delayed, inspector.parked
        self.dead_letters, self.take_dead = inspector.dead_letters, inspector.take_dead
        self.queues, self.count, self.browse = inspector.queues, inspector.count, inspector.browse
        self.purge, self.purge_delayed = inspector.purge, inspector.purge_delayed

    def enlist(self, backend: Any) -> bool:
        return False

    # -- kombu's side

    def message_to_python(self, raw_message: Any) -> Any:
        return raw_message

    def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = True,
        exclusive: bool = False,
        auto_delete: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Declare a queue as py-amqp does, but durable and kept by default, as Machinery's queues are."""
        with self.link.lock:
            answer = super().queue_declare(queue, passive, durable, exclusive, auto_delete, **kwargs)
        if not passive:
            self._declared.add(queue or answer.queue)
        return answer

    def basic_qos(
        self, prefetch_size: int, prefetch_count: int, a_global: bool = False, **kwargs: Any
    ) -> None:
        """Limit the deliveries that all consumers of this channel together may have; 0: any number. It takes effect
        at once."""
        with self.link.lock:
            self.dispatcher.prefetch = prefetch_count
            for subscription in self.subscriptions.values():
                subscription.adjust(self.dispatcher.prefetch)

    def basic_consume(
        self,
        queue: str = "",
        no_ack: bool = False,
        consumer_tag: str = "",
        callback: Callable[[Any], Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
        *,
        bare: bool = False,
        **kwargs: Any,
    ) -> str:
        """Begin to consume. If this channel has not declared the queue, declare and bind it as Machinery does."""
        with self.link.lock:
            tag = consumer_tag or consumer_name()
            ours = queue not in self._declared
            subscription = Subscription(
                self, queue, tag, callback or (lambda message: None), no_ack, arguments or {}, ours, bare
            )
            if no_ack:
                self.no_ack_consumers.add(tag)
            self.declare_source(subscription)
            self.subscriptions[tag] = subscription
            self.unacked.wake = self.wake
            self.unacked.alive_at = time.monotonic()
            subscription.adjust(self.dispatcher.prefetch)
            self.link.heartbeat_thread.start()
        return tag

    def basic_cancel(self, consumer_tag: str, nowait: bool = False, **kwargs: Any) -> None:
        """End a consumer, and return the messages that its callback has not got."""
        with self.link.lock:
            subscription = self.subscriptions.pop(consumer_tag, None)
            self.no_ack_consumers.discard(consumer_tag)
            if subscription is None:
                return
            if not self.usable:
                self.dispatcher.forget_waiting(subscription)
                return
            subscription.cancel()
            self.dispatcher.return_waiting(subscription)
            self.barrier()

    def basic_get(self, queue: str = "", no_ack: bool = False, **kwargs: Any) -> Any:
        """Return one message; None: there is none, or no such queue."""
        with self.link.lock:
            if self.link.declarer.count(queue) is None:
                return None
            raw = super().basic_get(queue, no_ack)
            if raw is None:
                return None
            info, body = raw.delivery_info, body_of(raw)
            delivered = Delivered(
                "", info["delivery_tag"], info["redelivered"], info["exchange"], info["routing_key"]
            )
            held = None if no_ack else self._hold(delivered, raw.properties, body, queue)
            return Message(self, FetchedMessage(delivered, raw.properties, body, held))

    def basic_ack(self, delivery_tag: int, multiple: bool = False, **kwargs: Any) -> None:
        self.settle_one(delivery_tag, "ack")

    def basic_reject(self, delivery_tag: int, requeue: bool = False, **kwargs: Any) -> None:
        self.settle_one(delivery_tag, "head" if requeue else "ack")

    def basic_publish(self, *args: Any, **kwargs: Any) -> Any:
        with self.link.lock:
            return super().basic_publish(*args, **kwargs)

    def wait(self, *args: Any, **kwargs: Any) -> Any:
        with self.link.lock:
            self._calls += 1
            try:
                return super().wait(*args, **kwargs)
            finally:
                self._calls -= 1

    def close(self, *args: Any, **kwargs: Any) -> None:
        """End the consumers. Unacked deliveries go back, unless they belong to a record that outlives
        this channel."""
        with self.link.lock:
            if not self.usable:
                self.gone()
                return
            if self.retire():
                return
            try:
                super().close(*args, **kwargs)
            finally:
                self.gone()

    def retire(self) -> bool:
        """End the consumers; True if the connection has to stay open for unacked deliveries of this channel."""
        for tag in list(self.subscriptions):
            self.basic_cancel(tag)
        if self.own_unacked or not self.held_here():
            return False
        self.link.lingering = True
        return True

    def collect(self) -> None:
        self.gone()
        super().collect()

    def gone(self, *, revived: bool = False) -> None:
        """Forget the deliveries of a channel that was closed: RabbitMQ returns them to their queues.

        If their record outlives the channel, or the channel is open again (``revived``), mark them as orphaned instead.
        """
        tags, self.tags = self.tags, AckTracker(self, self.link, self.tags.channel_id)
        tags.open = False
        self._sources.clear()
        for subscription in self.subscriptions.values():
            self.dispatcher.forget_waiting(subscription)
            subscription.lost()
        for held in [held for held in list(self.unacked.held.values()) if held.tags is tags]:
            if self.own_unacked and not revived:
                self.unacked.forget(held.delivery.id)
            else:
                self.unacked.mark_orphaned(held)
        if self in self.link.consuming and not self.usable:
            self.link.consuming.remove(self)

    @property
    def usable(self) -> bool:
        """True if the channel is open, as far as this end knows."""
        return bool(
            self.connection is not None and self.is_open and self.link.connected and not self.link.broken
        )

    def held_here(self) -> bool:
        """True if a delivery of this channel is unacked."""
        tags = self.tags
        return any(held.tags is tags for held in list(self.unacked.held.values()))

    # -- RabbitMQ's side; all under the link's lock

    def arrived(self, delivered: Delivered, raw: bytes, body: bytes) -> None:
        """Take a complete delivery. ``raw``: its properties, encoded."""
        properties = self._kinds.get(raw)
        if properties is None:
            properties = read_properties(raw)
            # A delayed message has the time at which it left each delay queue, so no other one has the same properties.
            if len(self._kinds) < _MAX_CACHED_PROPERTIES and b"x-death" not in raw:
                self._kinds[raw] = properties
        subscription = self._sources.get(delivered.consumer_tag)
        if subscription is not None and subscription.no_ack:
            subscription.waiting.append(FetchedMessage(delivered, properties, body, None))
            return
        if subscription is None:
            self.tags.delivered(delivered.tag)
            self.link.send(self.tags.settle((), (delivered.tag,)))
            return
        subscription.unsettled[delivered.consumer_tag] += 1
        if delivered.redelivered:
            held = self.unacked.reclaim(body, self.tags, delivered.tag, delivered.consumer_tag)
            if held is not None:
                self.tags.delivered(delivered.tag)
                log.info(
                    "RabbitMQ redelivered a message of %s that this worker still holds: the worker keeps it",
                    subscription.queue,
                )
                return
        held = self._hold(delivered, properties, body, subscription.queue)
        subscription.waiting.append(FetchedMessage(delivered, properties, body, held))
        if held.delivery.redelivered and _lost_before(delivered, properties):
            self.poison_records.doubt(held)

    def _hold(self, delivered: Delivered, properties: Mapping[str, Any], body: bytes, queue: str) -> Unacked:
        self.tags.delivered(delivered.tag)
        attempt = duplicate_attempt_of(properties)
        delivery = Delivery(
            queue=queue,
            consumer=self.consumer,
            id=self.unacked.new_id(body),
            redelivered=_lost_before(delivered, properties) + (attempt > 0),
            duplicate_attempt=attempt,
            republished="x-death" in (properties.get("application_headers") or ()),
        )
        held = Unacked(
            delivery, body, properties, self.tags, tag=delivered.tag, source=delivered.consumer_tag
        )
        self.unacked.add(held)
        return held

    def _on_close(self, reply_code: int, reply_text: str, class_id: int, method_id: int) -> None:
        """Go on after RabbitMQ has closed the channel, because of an error or a late acknowledgement."""
        held = self.held_here()
        self.link.drop_partial(self.channel_id)
        self.gone(revived=True)
        if self.subscriptions:
            self.dispatcher.begin_again(time.monotonic())
        if held or not self._calls:
            log.error(
                "RabbitMQ closed the channel that reads %s: %s; the worker opens it again",
                ", ".join(sorted({each.queue for each in self.subscriptions.values()})) or "no queue",
                reply_text,
            )
        if self._calls:
            # This opens the channel again, and then raises.
            super()._on_close(reply_code, reply_text, class_id, method_id)
        self.send_method(spec.Channel.CloseOk)
        self._do_revive()

    def _on_basic_cancel(self, consumer_tag: str) -> None:
        """Go on after RabbitMQ has cancelled a consumer because its queue was deleted."""
        subscription = self._sources.pop(consumer_tag, None)
        if subscription is None:
            return
        subscription.dropped(consumer_tag)
        if subscription.queue not in {other.queue for other in self._sources.values()}:
            log.error(
                "queue %s was deleted while this worker was reading it%s",
                subscription.queue,
                ": it declares the queue again" * subscription.ours,
            )
        self.link.declarer.forget(subscription.queue)
        self.dispatcher.begin_again(time.monotonic())

    def add_source(
        self, subscription: Subscription, tag: str, prefetch: int, arguments: Mapping[str, Any]
    ) -> None:
        """Begin a consumer on RabbitMQ's side."""
        self._sources[tag] = subscription
        if not subscription.no_ack:
            super().basic_qos(0, prefetch, False)
        super().basic_consume(
            subscription.queue, tag, no_ack=subscription.no_ack, arguments=dict(arguments) or None
        )

    def cancel_source(self, tag: str) -> None:
        """End a consumer on RabbitMQ's side. :meth:`arrived` takes the messages that come before RabbitMQ's answer."""
        super().basic_cancel(tag)
        self._sources.pop(tag, None)

    def barrier(self) -> None:
        """Wait until RabbitMQ has carried out all earlier commands of this channel."""
        super().basic_qos(0, 0, False)

    def declare_source(self, subscription: Subscription) -> None:
        """Declare the queue of a subscription and bind it as Machinery's, if no other program declares it."""
        if subscription.ours:
            self.link.declarer.ensure(self.link.topology.source(subscription.queue))

    def settled(self, held: Unacked) -> None:
        """Note that a delivery of this channel is settled."""
        subscription = self.subscriptions.get(held.source.rpartition(".")[0])
        if subscription is not None:
            subscription.settled(held.source)

    def return_unacked(self) -> int:
        """Return all deliveries of this channel, and receive no more until the next drain. Any thread may call it."""
        with self.link.lock:
            for subscription in self.subscriptions.values():
                subscription.cancel()
                subscription.waiting.clear()
            tags = self.tags
            count = self.put_back([held for held in list(self.unacked.held.values()) if held.tags is tags])
            self.barrier()
            if self.subscriptions:
                self.dispatcher.begin_again(0.0)
                self.link.wake()  # the owner may wait, though no message can come
            return count

    def wake(self) -> None:
        self.woken = True
        self.link.wake()


def _lost_before(delivered: Delivered, properties: Mapping[str, Any]) -> bool:
    """Say whether a consumer has lost this message before, or the message of which it is a copy."""
    return delivered.redelivered or LOST_HEADER in (properties.get("application_headers") or ())
