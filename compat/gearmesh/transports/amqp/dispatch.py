"""The dispatcher chooses the message that a consumer gets next, and how many more RabbitMQ may push."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Protocol

from amqp.exceptions import NotFound

from gearmesh.transports.amqp.message import Message
from gearmesh.transports.amqp.subscription import ADJUST_INTERVAL_S, FetchedMessage, Subscription

if TYPE_CHECKING:
    from collections.abc import Sequence
    from threading import RLock

    from gearmesh.transports.amqp.poison_records import PoisonRecords
    from gearmesh.transports.amqp.unacked import AMQPUnackedDeliveries, Unacked
    from gearmesh.transports.queue_order import QueuePicker

__all__ = ["Dispatcher"]

log = logging.getLogger("gearmesh.amqp")

#: Seconds for which messages beyond the prefetch of several queues together may wait here.
MAX_OVERDRAFT_S: Final = 0.1
#: Seconds before the dispatcher looks for a lost queue again.
LOST_QUEUE_RETRY_DELAY_S: Final = 1.0


class DispatchedChannel(Protocol):
    """The part of a :class:`~.channel.Channel` that its dispatcher needs."""

    @property
    def usable(self) -> bool:
        """Say whether the channel is open, as far as this end knows."""

    def declare_source(self, subscription: Subscription) -> None:
        """Declare the queue of a subscription, if this transport is to declare it."""

    def put_back(self, helds: Sequence[Unacked]) -> int:
        """Return deliveries for which no task was begun; return their number."""


class Dispatcher:
    """Hands messages from the subscriptions, where they wait, to the consumers' callbacks.

    Args:
        channel: the channel that the messages came through.
        lock: the lock of its connection.
        unacked: the unacked deliveries of the consumer.
        poison_records: says which redelivered messages have to wait for their record.
        order: chooses the queue that is next.
    """

    def __init__(
        self,
        channel: DispatchedChannel,
        lock: RLock,
        unacked: AMQPUnackedDeliveries,
        poison_records: PoisonRecords,
        order: QueuePicker,
    ) -> None:
        self._channel = channel
        self._lock = lock
        self._unacked = unacked
        self._poison_records = poison_records
        self._order = order
        #: kombu's consumer tag -> its subscription
        self.subscriptions: dict[str, Subscription] = {}
        #: number of unsettled deliveries that callbacks may have; 0: any number
        self.prefetch = 0
        #: monotonic time at which consumers have to begin (again)
        self._begin_at = float("inf")
        #: monotonic time since which more messages wait than callbacks may get; 0: no more wait
        self._over_since = 0.0
        #: True while RabbitMQ may push nothing, because it had pushed too much
        self._paused = False

    def begin_again(self, at: float) -> None:
        """Begin the ended consumers again at the monotonic time ``at``."""
        self._begin_at = min(self._begin_at, at)

    def deliver(self, now: float) -> bool:
        """Hand the callbacks the messages that they may get; True if there were any. Only the owning thread calls
        it."""
        self._unacked.alive_at = now
        delivered = False
        with self._lock:
            if now >= self._begin_at:
                self._begin()
            self._poison_records.settle(now)
        for subscription, item in self._next():
            delivered = True
            bare = subscription.bare and "application_headers" not in item.properties
            subscription.callback(item if bare else Message(self._channel, item))
            if item.held is None:
                break  # a caller that waits for replies counts calls of drain_events, and may leave others the rest
        with self._lock:
            self._balance(now)
        return delivered

    def due(self) -> float:
        """Return the monotonic time at which :meth:`deliver` has to be called even if no message comes."""
        if any(self._ready(subscription) for subscription in list(self.subscriptions.values())):
            return 0.0
        over = self._over_since + MAX_OVERDRAFT_S if self._over_since else float("inf")
        uneven = self._adjusts() and any(each.room(self.prefetch) > 0 for each in self.subscriptions.values())
        adjust_at = time.monotonic() + ADJUST_INTERVAL_S if uneven else float("inf")
        return min(self._begin_at, over, adjust_at, self._poison_records.due())

    def _next(self) -> Iterator[tuple[Subscription, FetchedMessage]]:
        """Yield the messages that may be handed out, one by one: a callback may cancel a consumer, or raise."""
        while True:
            with self._lock:
                by_queue = {
                    subscription.queue: subscription
                    for subscription in self.subscriptions.values()
                    if subscription.waiting
                }
                if not by_queue:
                    return
                room = self._room()
                if room <= 0 and not any(subscription.no_ack for subscription in by_queue.values()):
                    return
                turn = self._order.turn(list(by_queue), max(room, 1)) if len(by_queue) > 1 else None
            shares = turn if turn is not None else [(queue, 1 << 30) for queue in by_queue]
            some = False
            for queue, share in shares:
                subscription = by_queue[queue]
                for _ in range(share):
                    item = self._pop(subscription)
                    if item is None:
                        break
                    some = True
                    yield subscription, item
            if not some:
                return

    def _pop(self, subscription: Subscription) -> FetchedMessage | None:
        with self._lock:
            return subscription.waiting.popleft() if self._ready(subscription) else None

    def _ready(self, subscription: Subscription) -> bool:
        """Say whether the next message of a subscription may be handed out."""
        if not subscription.waiting or not (subscription.no_ack or self._room() > 0):
            return False
        held = subscription.waiting[0].held
        return held is None or not self._poison_records.doubtful(held)

    def _room(self) -> int:
        if not self.prefetch:
            return 1 << 30
        room = self.prefetch - len(self._unacked.held)
        for subscription in self.subscriptions.values():
            if not subscription.no_ack:
                room += len(subscription.waiting)
        return room

    def _begin(self) -> None:
        """Begin lost consumers again."""
        self._begin_at = float("inf")
        for subscription in list(self.subscriptions.values()):
            if subscription.sources or self._paused:
                continue
            self._adjust(subscription, declare=True)

    def _adjust(self, subscription: Subscription, *, declare: bool = False) -> bool:
        """Let RabbitMQ push as much as the prefetch allows of one queue; False if the queue is gone.

        Another program may delete the queue at any moment, and create it again. RabbitMQ has then closed the channel
        with all its consumers, which begin again after a pause.
        """
        try:
            if declare:
                self._channel.declare_source(subscription)
            subscription.adjust(self.prefetch)
        except NotFound as exc:
            log.error("queue %s cannot be read: %s", subscription.queue, exc)
            self._begin_at = time.monotonic() + LOST_QUEUE_RETRY_DELAY_S
            return False
        return True

    def _balance(self, now: float) -> None:
        """Let RabbitMQ push as much as the prefetch allows of all queues together."""
        if not self._channel.usable:
            return
        waiting = [
            subscription
            for subscription in self.subscriptions.values()
            if subscription.waiting and not subscription.no_ack
        ]
        room = self._room()
        if waiting and room <= 0 and len(self.subscriptions) > 1:
            if not self._over_since:
                self._over_since = now
            elif now - self._over_since >= MAX_OVERDRAFT_S:
                # Other workers may begin these messages sooner.
                self._over_since = 0.0
                self._paused = True
                for subscription in self.subscriptions.values():
                    if not subscription.no_ack:
                        subscription.cancel()
                        self.return_waiting(subscription)
            return
        self._over_since = 0.0
        if self._paused and room <= 0:
            return
        self._paused = False
        if self._adjusts():
            for subscription in self.subscriptions.values():
                if not subscription.content(self.prefetch) and not self._adjust(subscription):
                    return

    def _adjusts(self) -> bool:
        """Say whether RabbitMQ is to push as much as the prefetch allows, and no queue was lost."""
        return not self._paused and self._begin_at == float("inf")

    def forget_waiting(self, subscription: Subscription) -> None:
        """Forget messages that no callback has got: if they were reclaimed as orphans, no consumer would settle
        them."""
        for item in subscription.waiting:
            if item.held is not None:
                self._unacked.forget(item.held.delivery.id)
        subscription.waiting.clear()

    def return_waiting(self, subscription: Subscription) -> None:
        """Return messages that no callback has got to their queue."""
        items = [item.held for item in subscription.waiting if item.held is not None]
        subscription.waiting.clear()
        self._channel.put_back(items)
