"""The unacked deliveries of a consumer of RabbitMQ, with the channel that each came through."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gearmesh.interfaces.commit import Delivery
from gearmesh.shared import SharedByName
from gearmesh.transports import unacked

if TYPE_CHECKING:
    from gearmesh.transports.amqp.delivery_tags import AckTracker

__all__ = ["UNACKED_BY_CONSUMER", "AMQPUnackedDeliveries", "Unacked", "digest_of"]

_COUNTER_BITS: Final = 31
_DIGEST_BITS: Final = 32


def digest_of(id: int) -> int:
    """Return the checksum of the message's bytes, which is a part of each delivery's id."""
    return id & ((1 << _DIGEST_BITS) - 1)


class Unacked(msgspec.Struct, eq=False):
    """Holds a delivery of RabbitMQ with its message and its delivery tag.

    ``tags`` is None while it is orphaned: its channel is gone, and RabbitMQ will deliver the message again.
    ``tag`` is RabbitMQ's number of the delivery on that channel, ``source`` the consumer tag there.
    """

    delivery: Delivery
    body: bytes
    properties: Mapping[str, Any]
    tags: AckTracker | None
    tag: int
    source: str
    #: True once a crash record for it exists; the commit that settles it removes the record
    recorded: bool = False


class AMQPUnackedDeliveries(unacked.UnackedDeliveries):
    """Records the unacked deliveries of one consumer of RabbitMQ, with their messages. Found by the consumer's name in
    the whole process; see :data:`UNACKED_BY_CONSUMER`.

    Each part of this process that knows a delivery can settle it; no other process can. RabbitMQ itself returns the
    deliveries of a dead process to their queues.
    """

    def __init__(self, consumer: str | None = None) -> None:
        super().__init__(consumer)
        #: delivery id -> unacked delivery
        self.held: dict[int, Unacked] = {}
        #: orphaned deliveries by id: each is reclaimed when RabbitMQ redelivers its bytes
        self._orphans: dict[int, Unacked] = {}
        self._lock = threading.Lock()
        self._next = 1
        #: monotonic time of the consumer's last sign of life
        self.alive_at = time.monotonic()

    def new_id(self, body: bytes) -> int:
        """Return an id that no open delivery has: a counter, and a checksum by which others may know the message."""
        with self._lock:
            number = self._next
            self._next += 1
        # 63 bits, as a worker's scoreboard has room for; the counter begins anew after 2 billion.
        return (number & ((1 << _COUNTER_BITS) - 1)) << _DIGEST_BITS | zlib.crc32(body)

    def add(self, held: Unacked) -> None:
        """Record a delivery as unacked."""
        self.held[held.delivery.id] = held
        self.open[held.delivery.id] = held.delivery

    def forget(self, id: int) -> None:
        """Forget a delivery that is settled or lost."""
        with self._lock:
            self.open.pop(id, None)
            self.held.pop(id, None)
            self._orphans.pop(id, None)

    def mark_orphaned(self, held: Unacked) -> None:
        """Note that the channel of a delivery is gone; do nothing if another thread has settled it meanwhile."""
        with self._lock:
            if held.tags is not None and self.held.get(held.delivery.id) is held:
                held.tags = None
                self.losses += 1
                self._orphans[held.delivery.id] = held

    def orphaned(self, id: int) -> bool:
        held = self.held.get(id)
        return held is None or held.tags is None

    def reclaim(self, body: bytes, tags: AckTracker, tag: int, source: str) -> Unacked | None:
        """Find the orphaned delivery of these bytes, and let the redelivery take its place; None: there is none."""
        with self._lock:
            held = next((each for each in self._orphans.values() if each.body == body), None)
            if held is not None:
                del self._orphans[held.delivery.id]
                held.tags, held.tag, held.source = tags, tag, source
            return held


#: The records of this process by consumer; each lives as long as one of its users.
UNACKED_BY_CONSUMER: Final = SharedByName(AMQPUnackedDeliveries)
