"""The Pub/Sub channel: kombu's interface, and gearmesh's verbs."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from kombu.message import Message
from kombu.transport import virtual

from gearmesh.config import PubSubConfig
from gearmesh.interfaces.transport import SIGNATURE_CONTENT_TYPE
from gearmesh.transports.pubsub.api import PubSubAPI, PubSubUnavailable, types_of
from gearmesh.transports.pubsub.commit_engine import CommitEngine
from gearmesh.transports.pubsub.delays import DelayForwarder
from gearmesh.transports.pubsub.inspection import Inspector
from gearmesh.transports.pubsub.leases import LeaseKeeper
from gearmesh.transports.pubsub.message import envelope_of, to_kombu
from gearmesh.transports.pubsub.puller import Puller
from gearmesh.transports.pubsub.receiver import Receiver
from gearmesh.transports.pubsub.unacked import (
    UNACKED_BY_CONSUMER,
    PubSubUnackedDeliveries,
    Unacked,
    journal_of,
)
from gearmesh.transports.queue_order import picker_of
from gearmesh.transports.rate_limit import RATE_LIMITERS
from gearmesh.transports.unacked import consumer_name

__all__ = ["Channel"]

log = logging.getLogger("gearmesh.pubsub")

#: Number of messages that a channel without a prefetch may hold before callbacks get them.
MAX_WAITING_MESSAGES: Final = 1000
#: Seconds for which a channel of several queues keeps messages beyond its prefetch.
MAX_OVERDRAFT_S: Final = 0.1

Callback = Callable[[Message], object]


class QoS(virtual.QoS):  # type: ignore[misc]
    """Passes kombu's settling on to the channel, which records the deliveries."""

    def __init__(self, channel: Channel, prefetch_count: int = 0) -> None:
        self.channel = channel
        self.prefetch_count = prefetch_count or 0

    def can_consume(self) -> bool:
        return self.channel.room() > 0

    def append(self, message: Message, delivery_tag: int) -> None:
        """Do nothing: the delivery was recorded when the message came."""

    def ack(self, delivery_tag: int) -> None:
        self.channel.engine.settle_one(delivery_tag, "ack")

    def reject(self, delivery_tag: int, requeue: bool = False) -> None:
        self.channel.engine.settle_one(delivery_tag, "head" if requeue else "ack")

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Do nothing: :meth:`Channel.close` itself decides which deliveries go back."""


@dataclass(eq=False)
class Subscription:
    """Links a kombu consumer to the Pub/Sub subscription of its queue.

    Attributes:
        queue: the queue's name.
        name: the full name of Pub/Sub's subscription.
        tag: kombu's consumer tag.
        no_ack: acknowledge each message before the callback gets it.
        waiting: deliveries that no callback has got.
    """

    queue: str
    name: str
    tag: str
    callback: Callback
    no_ack: bool
    puller: Puller
    waiting: deque[Unacked] = field(default_factory=deque)


class Channel(virtual.Channel):  # type: ignore[misc]
    """Gives one thread access to Pub/Sub: a kombu channel with the verbs of
    :class:`gearmesh.interfaces.transport.Channel`.

    kombu forces this class; the objects that it holds do the work: a :class:`~.puller.Puller` for each queue, a
    :class:`~.receiver.Receiver`, a :class:`~.commit_engine.CommitEngine`, a :class:`~.leases.LeaseKeeper` and an
    :class:`~.inspection.Inspector`.

    Transport options: ``consumer`` (name), ``unacked`` (a :class:`~.unacked.PubSubUnackedDeliveries` to go on with: its
    deliveries stay unacked when the channel closes), ``lease`` (seconds), ``heartbeats`` (False: the consumer lives as
    long as its process), ``queue_order`` (see :data:`~gearmesh.transports.queue_order.QueueOrder`), ``gcppubsub``
    (settings).
    """

    QoS = QoS
    do_restore = False
    supports_fanout = True
    #: Pub/Sub does not count losses. If it counts deliveries, these include messages that were returned.
    counts_losses = False
    #: Pub/Sub shows a message only by delivering it, and has no request for one by its ordering key or time.
    lists_delayed = lists_pending = keeps_order = False
    records_crashes = True
    publishes_once = False
    dead_batch = 1_000_000

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        options = connection.client.transport_options
        config: PubSubConfig = options.get("gcppubsub") or PubSubConfig()
        self._own_unacked = "unacked" not in options
        self.unacked: PubSubUnackedDeliveries = (
            UNACKED_BY_CONSUMER.get(options.get("consumer") or consumer_name())
            if self._own_unacked
            else options["unacked"]
        )
        self.consumer: str = self.unacked.consumer
        self._api: PubSubAPI = connection.api
        self._config = config
        notes = connection.notes
        self._receiver = Receiver(self._api, self.unacked, notes)
        self.engine = CommitEngine(self._api, self.unacked, notes, config, create=self._create_topic)
        self._inspector = Inspector(
            self._api, notes, RATE_LIMITERS.get(connection.shown), config.dead_letter_subscription
        )
        self._make_keeper = partial(
            LeaseKeeper,
            self._api,
            self.unacked,
            notes,
            lease=float(options.get("lease", 30.0)),
            heartbeats=bool(options.get("heartbeats", True)),
            max_extension=config.max_extension,
        )
        self._bind_verbs(self.engine, self._inspector)
        self._order = picker_of(options.get("queue_order", "fair"))
        #: consumer tag -> its subscription
        self.subscriptions: dict[str, Subscription] = {}
        #: None: the channel does not consume, or there is no delay topic
        self._forwarder: DelayForwarder | None = None
        self._prefetch = 0
        self._supervised = not options.get("heartbeats", True)
        self._over_since = 0.0
        self.woken = False

    def _bind_verbs(self, engine: CommitEngine, inspector: Inspector) -> None:
        """Make the verbs of the parts methods of this channel."""
        self.commit, self.is_lost, self.mark_overdue = engine.commit, engine.is_lost, engine.mark_overdue
        self.held, self.heartbeat, self.recover = inspector.held, inspector.heartbeat, inspector.recover
        self.reap, self.reserve = inspector.reap, inspector.reserve
        self.pending, self.delayed = inspector.pending, inspector.delayed
        self.dead_letters, self.take_dead = inspector.dead_letters, inspector.take_dead
        self.queues, self.count, self.look = inspector.queues, inspector.count, inspector.look
        self.purge, self.purge_delayed = inspector.purge, inspector.purge_delayed

    def enlist(self, backend: Any) -> bool:
        return False

    def wake(self) -> None:
        self.woken = True
        self.connection.news.set()

    # -- receiving

    def deliver(self) -> bool:
        """Give the messages that have come to the callbacks, and ask for more; True if a callback got one.

        Raises:
            PubSubUnavailable: a request has failed.
            ConfigError: a subscription does not exist.
        """
        self.unacked.alive_at = now = time.monotonic()
        if self._forwarder is not None:
            self._forwarder.step()
        for subscription in list(self.subscriptions.values()):
            pulled = subscription.puller.take()
            if pulled:
                came = self._receiver.receive(subscription.queue, subscription.name, pulled)
                subscription.waiting += came
        self.ask()
        given = False
        while (next_one := self._next()) is not None:
            given = True
            subscription, held = next_one
            self._give(subscription, held)
        self._return_overdraft(now)
        self.ask()
        return given

    def due(self) -> float:
        """Return the monotonic time at which :meth:`deliver` has to be called even if no message comes."""
        return self._over_since + MAX_OVERDRAFT_S if self._over_since else float("inf")

    def room(self) -> int:
        """Count the messages that may be given to callbacks now."""
        if not self._prefetch:
            return MAX_WAITING_MESSAGES
        return self._prefetch - self.unacked.given

    def ask(self) -> None:
        """Ask Pub/Sub for as many messages as there is room for."""
        room = self.room()
        for subscription in self.subscriptions.values():
            waiting = len(subscription.waiting)
            subscription.puller.ask((MAX_WAITING_MESSAGES if subscription.no_ack else room) - waiting)

    def _give(self, subscription: Subscription, held: Unacked) -> None:
        self.unacked.give(held)
        message = to_kombu(held, self, subscription.tag)
        if subscription.no_ack:
            self.engine.settle_one(held.delivery.id, "ack")
        subscription.callback(message)

    def _next(self) -> tuple[Subscription, Unacked] | None:
        """Choose the next message that may be given to a callback; None: there is none, or no room."""
        waiting = [each for each in self.subscriptions.values() if each.waiting]
        if not waiting:
            return None
        room = self.room()
        if len(waiting) > 1:
            by_queue = {each.queue: each for each in waiting}
            waiting = [by_queue[queue] for queue, _ in self._order.turn(list(by_queue), max(room, 1))]
        for subscription in waiting:
            if room <= 0 and not subscription.no_ack:
                continue
            held = self._pop(subscription)
            if held is not None:
                return subscription, held
        return None

    def _pop(self, subscription: Subscription) -> Unacked | None:
        """Take the first waiting delivery that is still held, and whose ordering key no delivery of a callback has."""
        waiting, unacked = subscription.waiting, self.unacked
        for index, held in enumerate(waiting):
            if held.ordering_key and (held.subscription, held.ordering_key) in unacked.keys_given:
                continue
            del waiting[index]
            return held if held.delivery.id in unacked.held else self._pop(subscription)
        return None

    def _return_overdraft(self, now: float) -> None:
        """Return messages that several queues have brought beyond the prefetch and that had to wait: other workers may
        be free."""
        waiting = [each for each in self.subscriptions.values() if each.waiting and not each.no_ack]
        if len(self.subscriptions) < 2 or not waiting or self.room() > 0:
            self._over_since = 0.0
        elif not self._over_since:
            self._over_since = now
        elif now - self._over_since >= MAX_OVERDRAFT_S:
            self._over_since = 0.0
            for subscription in waiting:
                self._return_waiting(subscription)

    def _return_waiting(self, subscription: Subscription) -> None:
        waiting = list(subscription.waiting)
        subscription.waiting.clear()
        self._put_back(waiting)

    def _put_back(self, some: Sequence[Unacked]) -> None:
        """Return deliveries for which no task was begun; without Pub/Sub they return when their leases end."""
        try:
            self.engine.put_back(some)
        except PubSubUnavailable as exc:
            log.debug("messages come again when their leases end: %s", exc)

    # -- kombu's verbs

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False) -> None:
        """Limit the unsettled messages that callbacks have got; 0: any number."""
        self._prefetch = prefetch_count

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callback, consumer_tag: str, **kwargs: Any
    ) -> None:
        """Begin to consume from a queue.

        Raises:
            ConfigError: the subscription does not exist.
            PubSubUnavailable: Pub/Sub cannot be reached.
        """
        name = self._api.addresses.subscription(queue)
        self._api.ensure(self._api.addresses.topic(queue), name)
        self._api.settings(name)
        receiver = self._receiver
        puller = Puller(
            self._api,
            name,
            self.connection.news.set,
            lambda pulled: receiver.put_back(name, pulled),
        )
        self.subscriptions[consumer_tag] = Subscription(queue, name, consumer_tag, callback, no_ack, puller)
        self._consumers.add(consumer_tag)
        self._forward_delayed()
        self.unacked.wake = self.wake
        self.unacked.alive_at = time.monotonic()
        if self._supervised and self.unacked.journal is None:
            self.unacked.journal = journal_of(self.consumer)
        self._keep_leases()

    def basic_cancel(self, consumer_tag: str) -> None:
        """End a consumer, and return the messages that its callback has not got."""
        subscription = self.subscriptions.pop(consumer_tag, None)
        self._consumers.discard(consumer_tag)
        if subscription is not None:
            subscription.puller.cancel()
            self._return_waiting(subscription)
        if self._forwarder is not None and not self.subscriptions:
            self._forwarder.stop()
            self._forwarder = None

    def _forward_delayed(self) -> None:
        """Begin to forward the due messages of the delay topic, if there is one."""
        config, addresses = self._config, self._api.addresses
        if self._forwarder is None and config.delay_subscription:
            name = addresses.named_subscription(config.delay_subscription)
            self._api.ensure(addresses.topic(config.delay_topic), name)
            self._api.settings(name)
            self._forwarder = DelayForwarder(
                self._api, name, self.engine.publish, self._receiver, self.connection.news.set
            )

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Message | None:
        name = self._api.addresses.subscription(queue)
        self._api.ensure(self._api.addresses.topic(queue), name)
        pulled = list(self._api.pull_now(name, 1).result().received_messages)
        for held in self._receiver.receive(queue, name, pulled):
            self._keep_leases()
            self.unacked.give(held)
            message = to_kombu(held, self, "")
            if no_ack:
                self.engine.settle_one(held.delivery.id, "ack")
            return message
        return None

    def message_to_python(self, raw_message: Any) -> Message:
        return raw_message if isinstance(raw_message, Message) else super().message_to_python(raw_message)

    def close(self) -> None:
        """End the consumers; unacked deliveries are returned, unless the option ``unacked`` was given."""
        if self.closed:
            return
        try:
            for tag in list(self.subscriptions):
                self.basic_cancel(tag)
            if self._own_unacked:
                self._put_back(self.unacked.snapshot())
        finally:
            for subscription in self.subscriptions.values():
                subscription.puller.cancel()
            self.subscriptions.clear()
            if self._forwarder is not None:
                self._forwarder.stop()
            if self._own_unacked and self.unacked.keeper is not None:
                self.unacked.keeper.stop()
                self.unacked.keeper = None
            super().close()

    def _keep_leases(self) -> None:
        """Start the thread that extends the leases of this consumer, for all its channels."""
        if self.unacked.keeper is None:
            self.unacked.keeper = self._make_keeper()
        self.unacked.keeper.start()

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any
    ) -> None:
        """Forget the bindings of a queue; its topic stays."""
        self.state.queue_bindings_delete(queue)
        for exchange in self.state.exchanges.values():
            exchange["table"][:] = [row for row in exchange["table"] if row[2] != queue]

    def after_reply_message_received(self, queue: str) -> None:
        """Do nothing: reply queues stay until they are deleted."""

    # -- methods that kombu's virtual channel calls

    def _inplace_augment_message(self, message: dict[str, Any], exchange: str, routing_key: str) -> None:
        if message["content-type"] != SIGNATURE_CONTENT_TYPE:
            super()._inplace_augment_message(message, exchange, routing_key)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        body, attributes = envelope_of(message)
        sent = types_of("PubsubMessage")(data=body, attributes=attributes)
        self.engine.publish({self._api.addresses.topic(queue): [sent]})

    def _put_fanout(
        self, exchange: str, message: dict[str, Any], routing_key: str | None = None, **kwargs: Any
    ) -> None:
        for queue in self._lookup(exchange, routing_key):
            self._put(queue, message)

    def _queue_bind(self, *args: Any) -> None:
        """Do nothing: the exchange's table is the only record of a binding."""

    def _purge(self, queue: str) -> int:
        return self.purge(queue)

    def _size(self, queue: str) -> int:
        return 0  # Pub/Sub does not count messages

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        self._api.ensure(self._api.addresses.topic(queue), self._api.addresses.subscription(queue))

    def _create_topic(self, topic: str) -> bool:
        """Create a missing topic, and the subscription through which it is read; False: the settings do not allow
        that."""
        if not self._config.create:
            return False
        addresses = self._api.addresses
        queue = topic.rpartition("/")[2]
        config = self._config
        special = {
            addresses.topic(name): subscription
            for name, subscription in (
                (config.dead_letter_topic, config.dead_letter_subscription),
                (config.delay_topic, config.delay_subscription),
            )
            if name
        }
        own = special.get(topic)
        if own is None:
            self._api.ensure(topic, addresses.subscription(queue))
        else:
            self._api.ensure(topic, addresses.named_subscription(own) if own else "")
        return True
