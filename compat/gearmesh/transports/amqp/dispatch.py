"""Which of the messages that came a consumer gets next, and how many more RabbitMQ may push."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from amqp.exceptions import NotFound

from gearmesh.transports.amqp.message import Message
from gearmesh.transports.amqp.subscription import ADJUST_INTERVAL_S, FetchedMessage, Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gearmesh.transports.amqp.connection import AMQPConnection
    from gearmesh.transports.amqp.poison_records import PoisonRecords
    from gearmesh.transports.amqp.unacked import AMQPUnackedDeliveries, Unacked
    from gearmesh.transports.queue_order import QueuePicker

__all__ = ["Dispatcher"]

log = logging.getLogger("gearmesh.amqp")

#: Seconds for which what came beyond the prefetch of several queues together may wait here.
MAX_OVERDRAFT_S: Final = 0.1
#: Seconds before a lost queue is looked for again.
LOST_QUEUE_RETRY_DELAY_S: Final = 1.0


class Dispatcher:
    """A part of :class:`~.channel.Channel`: between the inlets, where messages wait, and the consumers' callbacks."""

    link: AMQPConnection
    ledger: AMQPUnackedDeliveries
    poison_records: PoisonRecords
    inlets: dict[str, Subscription]
    #: messages that may be handed out and not settled; 0: any number
    wanted: int
    _order: QueuePicker
    #: when consumers have to be begun (again), by the monotonic clock
    _begin_at = float("inf")
    #: since when there is more than may be handed out; 0: there is not
    _over_since = 0.0
    #: nothing may come, since there was more
    _paused = False
    #: a queue may bring more than it is allowed to now
    _uneven = False

    @property
    def usable(self) -> bool:
        """The channel is open, as far as one knows."""
        raise NotImplementedError

    #: puts back deliveries that no task was begun for
    put_back: Callable[[Sequence[Unacked]], int]

    def _prepare(self, inlet: Subscription) -> None:
        raise NotImplementedError

    def deliver(self, now: float) -> bool:
        """Hand to the consumers what they may have; True if that was anything. Called by the owning thread."""
        self.ledger.alive_at = now
        delivered = False
        channel: Any = self  # with all its other parts
        with self.link.lock:
            if now >= self._begin_at:
                self._begin()
            self.poison_records.settle(now)
        for inlet, item in self._next():
            delivered = True
            held = item.held
            message = Message(
                channel,
                item.delivered,
                item.properties,
                item.body,
                held.delivery if held is not None else None,
            )
            inlet.callback(message)
            if held is None:
                break  # who waits for replies counts calls of drain_events, and may leave the rest to others
        with self.link.lock:
            self._balance(now)
        return delivered

    def due(self) -> float:
        """When :meth:`deliver` has something to do though nothing came; by the monotonic clock."""
        if any(self._ready(inlet) for inlet in list(self.inlets.values())):
            return 0.0
        over = self._over_since + MAX_OVERDRAFT_S if self._over_since else float("inf")
        uneven = time.monotonic() + ADJUST_INTERVAL_S if self._uneven else float("inf")
        return min(self._begin_at, over, uneven, self.poison_records.due())

    def _next(self) -> Iterator[tuple[Subscription, FetchedMessage]]:
        """What may be handed out now, one by one: a callback may cancel a consumer, or raise."""
        while True:
            with self.link.lock:
                by_queue = {inlet.queue: inlet for inlet in self.inlets.values() if inlet.waiting}
                if not by_queue:
                    return
                room = self._room()
                if room <= 0 and not any(inlet.no_ack for inlet in by_queue.values()):
                    return
                turn = self._order.turn(list(by_queue), max(room, 1)) if len(by_queue) > 1 else None
            shares = turn if turn is not None else [(queue, 1 << 30) for queue in by_queue]
            some = False
            for queue, share in shares:
                inlet = by_queue[queue]
                for _ in range(share):
                    item = self._pop(inlet)
                    if item is None:
                        break
                    some = True
                    yield inlet, item
            if not some:
                return

    def _pop(self, inlet: Subscription) -> FetchedMessage | None:
        with self.link.lock:
            return inlet.waiting.popleft() if self._ready(inlet) else None

    def _ready(self, inlet: Subscription) -> bool:
        """Something of it may be handed out."""
        if not inlet.waiting or not (inlet.no_ack or self._room() > 0):
            return False
        held = inlet.waiting[0].held
        return held is None or not self.poison_records.doubtful(held)

    def _room(self) -> int:
        if not self.wanted:
            return 1 << 30
        waiting = sum(len(inlet.waiting) for inlet in self.inlets.values() if not inlet.no_ack)
        return self.wanted - (len(self.ledger.held) - waiting)

    def _begin(self) -> None:
        """Consume again where consumers were lost."""
        self._begin_at = float("inf")
        for inlet in list(self.inlets.values()):
            if inlet.sources or self._paused:
                continue
            try:
                self._prepare(inlet)
                inlet.adjust(self.wanted)
            except NotFound as exc:  # somebody else's queue: it may come back
                log.error("queue %s cannot be read: %s", inlet.queue, exc)
                self._begin_at = time.monotonic() + LOST_QUEUE_RETRY_DELAY_S

    def _balance(self, now: float) -> None:
        """Take neither more nor less than is wanted of all queues together."""
        if not self.usable:
            return
        waiting = [inlet for inlet in self.inlets.values() if inlet.waiting and not inlet.no_ack]
        room = self._room()
        if waiting and room <= 0 and len(self.inlets) > 1:
            if not self._over_since:
                self._over_since = now
            elif now - self._over_since >= MAX_OVERDRAFT_S:
                # They may begin sooner elsewhere.
                self._over_since = 0.0
                self._paused = True
                for inlet in self.inlets.values():
                    if not inlet.no_ack:
                        inlet.cancel()
                        self._return_waiting(inlet)
            return
        self._over_since = 0.0
        if self._paused and room <= 0:
            return
        self._paused = False
        if self._begin_at == float("inf"):
            self._uneven = False
            for inlet in self.inlets.values():
                if not inlet.content(self.wanted):
                    inlet.adjust(self.wanted)
                    self._uneven = self._uneven or (inlet.room(self.wanted) > 0)

    def _forget_waiting(self, inlet: Subscription) -> None:
        """What nobody has seen is not orphaned, but gone: reclaimed, nobody would ever settle it."""
        for item in inlet.waiting:
            if item.held is not None:
                self.ledger.forget(item.held.delivery.id)
        inlet.waiting.clear()

    def _return_waiting(self, inlet: Subscription) -> None:
        items = [item.held for item in inlet.waiting if item.held is not None]
        inlet.waiting.clear()
        self.put_back(items)
