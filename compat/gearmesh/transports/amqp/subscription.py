"""One queue from which a channel consumes: limits the messages that RabbitMQ pushes, and holds the pushed ones."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from gearmesh.interfaces.commit import Delivery
    from gearmesh.transports.amqp.frames import Delivered
    from gearmesh.transports.amqp.unacked import Unacked

__all__ = ["ADJUST_INTERVAL_S", "FetchedMessage", "Subscription"]

#: Seconds between two small changes of the limit.
ADJUST_INTERVAL_S: Final = 0.05
#: Number of RabbitMQ's consumers of one queue at which a single one replaces them.
_MAX_CONSUMERS_PER_QUEUE: Final = 8


class FetchedMessage(msgspec.Struct, frozen=True, gc=False):
    """A message of RabbitMQ that no callback has got yet; ``held`` is None if it needs no acknowledgement."""

    delivered: Delivered
    properties: dict[str, Any]
    body: bytes
    held: Unacked | None

    @property
    def delivery(self) -> Delivery | None:
        """The delivery; None if the message needs no acknowledgement."""
        return None if self.held is None else self.held.delivery


class ConsumingChannel(Protocol):
    """The part of a channel that begins and ends RabbitMQ's consumers."""

    def add_source(
        self, subscription: Subscription, tag: str, prefetch: int, arguments: Mapping[str, Any]
    ) -> None:
        """Begin a consumer with this tag. ``prefetch`` 0: any number of deliveries."""

    def cancel_source(self, tag: str) -> None:
        """End a consumer."""


@dataclass(eq=False)
class Subscription:
    """Joins several consumers of RabbitMQ into one consumer of kombu.

    In RabbitMQ, the prefetch of a consumer never changes. So the subscription adds a consumer to get more messages, and
    cancels consumers to get fewer. Unsettled deliveries of cancelled consumers count against the prefetch of a new one.

    Used under its connection's lock.
    """

    channel: ConsumingChannel
    queue: str
    tag: str
    callback: Callable[[Any], Any]
    no_ack: bool
    arguments: Mapping[str, Any]
    #: True if this transport declares the queue, so that it may declare it again
    ours: bool
    #: True if the callback gets messages that have no more than ``body`` and ``delivery``
    bare: bool = False
    waiting: deque[FetchedMessage] = field(default_factory=deque)
    #: RabbitMQ's consumer tag -> its prefetch; 0: no limit
    sources: dict[str, int] = field(default_factory=dict)
    #: RabbitMQ's consumer tag -> number of unsettled deliveries, also of cancelled consumers
    unsettled: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _adjusted_at: float = 0.0

    def adjust(self, wanted: int) -> None:
        """Let RabbitMQ push up to ``wanted`` messages; 0: any number."""
        if self.no_ack:
            wanted = 0
        sources = self.sources
        if not wanted:
            if 0 not in sources.values():
                self.cancel()
                self._add(0)
            return
        if 0 in sources.values() or len(sources) >= _MAX_CONSUMERS_PER_QUEUE:
            self.cancel()
        total = sum(sources.values())
        while total > wanted:
            tag, prefetch = sources.popitem()
            total -= prefetch
            self.channel.cancel_source(tag)
        gap = self.room(wanted)
        now = time.monotonic()
        if gap > 0 and (
            gap == wanted - total or gap * 4 >= wanted or now >= self._adjusted_at + ADJUST_INTERVAL_S
        ):
            self._add(gap)
            self._adjusted_at = now

    def content(self, wanted: int) -> bool:
        """True if :meth:`adjust` would change nothing, now or soon."""
        return sum(self.sources.values()) == (0 if self.no_ack else wanted) and bool(self.sources)

    def room(self, wanted: int) -> int:
        """Return the number of further messages that RabbitMQ may push now."""
        strays = sum(n for tag, n in self.unsettled.items() if tag not in self.sources)
        return wanted - sum(self.sources.values()) - strays if wanted and not self.no_ack else 0

    def cancel(self) -> None:
        """Cancel all consumers, so that no more messages come."""
        for tag in self.sources:
            self.channel.cancel_source(tag)
        self.sources.clear()

    def lost(self) -> None:
        """Forget all consumers and deliveries, since the channel was closed."""
        self.sources.clear()
        self.unsettled.clear()
        self.waiting.clear()

    def dropped(self, source: str) -> None:
        """Forget a consumer that RabbitMQ has cancelled."""
        self.sources.pop(source, None)

    def settled(self, source: str) -> None:
        """Note that a delivery of a consumer is settled."""
        left = self.unsettled.pop(source, 0) - 1
        if left > 0:
            self.unsettled[source] = left

    def _add(self, prefetch: int) -> None:
        tag = f"{self.tag}.{next(self._numbers)}"
        self.sources[tag] = prefetch
        self.channel.add_source(self, tag, prefetch, self.arguments)
