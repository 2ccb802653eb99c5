"""One queue that a channel consumes from: how much RabbitMQ may push, and what it has pushed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from gearmesh.transports.amqp.frames import Delivered
    from gearmesh.transports.amqp.unacked import Unacked

__all__ = ["ADJUST_INTERVAL_S", "FetchedMessage", "Subscription"]

#: Seconds between two small changes.
ADJUST_INTERVAL_S: Final = 0.05
#: Consumers of one queue, before they are replaced by a single one.
_MAX_CONSUMERS_PER_QUEUE: Final = 8


class FetchedMessage(NamedTuple):
    """A message that was not handed out yet; ``held`` is None where nothing has to be acknowledged."""

    delivered: Delivered
    properties: dict[str, Any]
    body: bytes
    held: Unacked | None


class ConsumingChannel(Protocol):
    """The part of a channel that begins and ends RabbitMQ's consumers."""

    def add_source(
        self, subscription: Subscription, tag: str, prefetch: int, arguments: Mapping[str, Any]
    ) -> None:
        """Begin a consumer with this tag. ``prefetch`` 0: any number of deliveries."""

    def cancel_source(self, tag: str) -> None:
        """End a consumer."""


class Subscription:
    """A consumer as kombu knows it, over several consumers as RabbitMQ knows them.

    RabbitMQ's prefetch belongs to a consumer and never changes. So to take more, one is added; to take less, some
    are cancelled. What a cancelled one brought, and is not settled yet, counts against what may be added.

    Used under its connection's lock.
    """

    def __init__(
        self,
        channel: ConsumingChannel,
        queue: str,
        tag: str,
        callback: Callable[[Any], Any],
        *,
        no_ack: bool,
        arguments: Mapping[str, Any] | None,
        ours: bool,
    ) -> None:
        self.queue = queue
        self.tag = tag
        self.callback = callback
        self.no_ack = no_ack
        #: declared by this transport, so that it can be declared again
        self.ours = ours
        self.waiting: deque[FetchedMessage] = deque()
        self._channel = channel
        self._arguments = dict(arguments or {})
        self._numbers = count(1)
        #: RabbitMQ's consumer tag -> its prefetch; 0: no limit
        self.sources: dict[str, int] = {}
        self._adjusted_at = 0.0
        #: RabbitMQ's consumer tag -> deliveries not settled; cancelled ones, too
        self.unsettled: dict[str, int] = {}

    @property
    def held(self) -> int:
        """Deliveries not settled."""
        return sum(self.unsettled.values())

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
            self._channel.cancel_source(tag)
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
        """The number of further messages that RabbitMQ may push now."""
        strays = sum(n for tag, n in self.unsettled.items() if tag not in self.sources)
        return wanted - sum(self.sources.values()) - strays if wanted and not self.no_ack else 0

    def cancel(self) -> None:
        """Let nothing more come."""
        for tag in self.sources:
            self._channel.cancel_source(tag)
        self.sources.clear()

    def lost(self) -> None:
        """The channel was closed, with all consumers and deliveries."""
        self.sources.clear()
        self.unsettled.clear()
        self.waiting.clear()

    def dropped(self, source: str) -> None:
        """RabbitMQ has cancelled one of the consumers."""
        self.sources.pop(source, None)

    def settled(self, source: str) -> None:
        """One of its deliveries is settled."""
        left = self.unsettled.get(source, 0) - 1
        if left > 0 or source in self.sources:
            self.unsettled[source] = max(left, 0)
        else:
            self.unsettled.pop(source, None)

    def _add(self, prefetch: int) -> None:
        tag = f"{self.tag}.{next(self._numbers)}"
        self.sources[tag] = prefetch
        self._channel.add_source(self, tag, prefetch, self._arguments)
