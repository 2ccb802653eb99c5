"""The unacked deliveries of a consumer of Pub/Sub, each with its ack id and the end of its lease."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Final

import msgspec

from gearmesh.interfaces.commit import Delivery
from gearmesh.shared import SharedByName
from gearmesh.transports import unacked
from gearmesh.transports.journal import Journal

__all__ = ["UNACKED_BY_CONSUMER", "PubSubUnackedDeliveries", "Unacked", "journal_of"]


class Unacked(msgspec.Struct, eq=False, gc=False):
    """Holds a delivery of Pub/Sub with its message and its ack id.

    Times are of the monotonic clock. ``given`` is False until a consumer's callback has got the message.
    """

    delivery: Delivery
    body: bytes
    attributes: Mapping[str, str]
    ordering_key: str
    subscription: str
    message_id: str
    ack_id: str
    received_at: float
    leased_until: float
    attempt: int = 0
    given: bool = False


class PubSubUnackedDeliveries(unacked.UnackedDeliveries):
    """Records the unacked deliveries of one consumer of Pub/Sub, with their messages. Found by the consumer's name in
    the whole process; see :data:`UNACKED_BY_CONSUMER`."""

    def __init__(self, consumer: str | None = None) -> None:
        super().__init__(consumer)
        #: delivery id -> the delivery
        self.held: dict[int, Unacked] = {}
        #: (subscription, ordering key) -> id of the delivery with it that a callback has got
        self.keys_given: dict[tuple[str, str], int] = {}
        #: the number of deliveries that a callback has got
        self.given = 0
        #: Returns a number that no other delivery of this consumer has.
        self.new_id: Callable[[], int] = count(1).__next__
        self._lock = threading.Lock()
        #: monotonic time of the consumer's last sign of life
        self.alive_at = time.monotonic()
        #: True while the consumer's thread waits for messages, so that it is alive
        self.resting = False
        #: Extends the leases; it outlives the channel that started it. None: no channel has consumed.
        self.keeper: Any = None
        #: Records the deliveries for a supervisor; None: there is no supervisor.
        self.journal: Journal[Unacked] | None = None

    def add(self, some: Sequence[Unacked]) -> None:
        """Record deliveries."""
        with self._lock:
            for held in some:
                self.held[held.delivery.id] = held
                self.open[held.delivery.id] = held.delivery
            if self.journal is not None:
                self.journal.add(some)

    def give(self, held: Unacked) -> None:
        """Record that a callback gets a delivery."""
        with self._lock:
            if held.delivery.id in self.held:
                held.given = True
                self.given += 1
                if held.ordering_key:
                    self.keys_given[held.subscription, held.ordering_key] = held.delivery.id

    def forget(self, ids: Iterable[int], *, lost: bool = False) -> list[Unacked]:
        """Forget deliveries that are settled, or ``lost``; return those that were held."""
        gone = []
        with self._lock:
            for id in ids:
                held = self.held.pop(id, None)
                self.open.pop(id, None)
                if held is None:
                    continue
                gone.append(held)
                self.losses += lost
                self.given -= held.given
                key = (held.subscription, held.ordering_key)
                if held.ordering_key and self.keys_given.get(key) == id:
                    del self.keys_given[key]
            if self.journal is not None and gone:
                self.journal.remove([each.delivery.id for each in gone], self.held.values())
        return gone

    def orphaned(self, id: int) -> bool:
        return id not in self.held

    def snapshot(self) -> list[Unacked]:
        """List the deliveries, in the order in which they came."""
        with self._lock:
            return list(self.held.values())

    def behind(self, held: Unacked) -> list[Unacked]:
        """List the deliveries with the same ordering key that no callback has got: Pub/Sub delivers them again after
        it."""
        if not held.ordering_key:
            return []
        key = (held.subscription, held.ordering_key)
        return [
            each
            for each in self.snapshot()
            if not each.given and (each.subscription, each.ordering_key) == key and each is not held
        ]


#: The records of this process by consumer; each lives as long as one of its users.
UNACKED_BY_CONSUMER: Final = SharedByName(PubSubUnackedDeliveries)


def journal_of(consumer: str) -> Journal[Unacked]:
    """Return the journal of a consumer, of this process or of a dead one."""
    return Journal(Unacked, "pubsub", consumer)
