"""The unacked deliveries of a consumer of SQS, each with the receipt handle by which it is settled."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from gearmesh.interfaces.commit import Delivery
from gearmesh.shared import SharedByName
from gearmesh.transports import unacked
from gearmesh.transports.journal import Journal
from gearmesh.transports.sqs.queues import SQSQueue
from gearmesh.transports.sqs.sent import SentMessages

__all__ = ["UNACKED_BY_CONSUMER", "SQSUnackedDeliveries", "Unacked", "find", "forget", "journal_of"]


#: Visibility timeouts below this many seconds are so short that the guard must learn of each delivery at once.
SHORT_S: Final = 20


class VisibilityGuard(Protocol):
    """Keeps deliveries hidden from other consumers."""

    def look_soon(self) -> None:
        """Look at the deliveries soon, since SQS hides a new one for a short time only."""


@dataclass(eq=False, slots=True)
class Unacked:
    """Holds a delivery of SQS with its message and its receipt handle.

    Attributes:
        delivery: the delivery.
        queue: the queue that it came from.
        body: the original bytes.
        attributes: the message attributes.
        receipt: SQS's receipt handle.
        group: the message group; ``""``: the queue is not a FIFO queue.
        receives: the number of times that SQS has handed the message out, this time included.
        first_at: unix seconds at which SQS first handed it out.
        sent_at: unix seconds at which SQS got the message.
        received_at: monotonic seconds at which this receive began.
        hidden_s: seconds for which SQS hides it at a time.
        visible_at: monotonic seconds at which SQS shows the message to other consumers, unless the timeout is extended.
        sent: the messages of its Commit that SQS has taken, while the Commit is repeated.
    """

    delivery: Delivery
    queue: SQSQueue
    body: bytes
    attributes: dict[str, str]
    receipt: str
    group: str
    receives: int
    first_at: float
    sent_at: float
    received_at: float
    hidden_s: int
    visible_at: float
    sent: SentMessages = field(default_factory=SentMessages)


class SQSUnackedDeliveries(unacked.UnackedDeliveries):
    """Records the unacked deliveries of one consumer of SQS, with their receipt handles. Found by the consumer's name
    in the whole process; see :data:`UNACKED_BY_CONSUMER`.

    Each part of this process that knows a delivery can settle it. In other processes, only the supervisor can settle
    it, by the journal; else the message comes back when its visibility timeout is over.
    """

    def __init__(self, consumer: str | None = None) -> None:
        super().__init__(consumer)
        #: delivery id -> unacked delivery
        self.held: dict[int, Unacked] = {}
        #: monotonic time of the consumer's last sign of life
        self.alive_at = time.monotonic()
        #: monotonic time at which the consumer last took messages, or waited for some
        self.asked_at = float("-inf")
        #: True while the consumer's thread waits for messages, so that it is alive
        self.resting = False
        #: Called with the deliveries that were deleted, and those that were returned or lost.
        self.on_left: Callable[[list[Unacked], list[Unacked]], None] | None = None
        #: Records the deliveries for the supervisor of this process; None: there is no supervisor.
        self.journal: Journal[Unacked] | None = None
        #: Keeps the deliveries hidden; None: nothing was received yet.
        self.guard: VisibilityGuard | None = None
        self._lock = threading.Lock()
        self._next = 1

    def new_id(self) -> int:
        """Return an id that no other delivery of this consumer has."""
        with self._lock:
            self._next += 1
            return self._next - 1

    def add(self, held: Unacked) -> None:
        """Record a delivery as unacked."""
        with self._lock:
            self.held[held.delivery.id] = held
            self.open[held.delivery.id] = held.delivery
            if self.journal is not None:
                self.journal.add([held])
        if held.hidden_s < SHORT_S and self.guard is not None:
            self.guard.look_soon()

    def find(self, delivery: Delivery) -> Unacked | None:
        """Find a delivery that can still be settled; None: it was settled, or lost."""
        held = self.held.get(delivery.id)
        return held if held is not None and time.monotonic() < held.visible_at else None

    def forget(self, deleted: Collection[Unacked], returned: Collection[Unacked] = ()) -> None:
        """Remove deliveries that were settled: deleted, or returned to their queue."""
        left = [self._pop(deleted), self._pop(returned)]
        if any(left) and (on_left := self.on_left) is not None:
            on_left(*left)

    def silence(self) -> None:
        """Count the consumer as dead until it gives a sign of life: the receiver asks for no messages until then."""
        self.asked_at = float("-inf")

    def lose(self, lost: Collection[Unacked]) -> int:
        """Remove deliveries that SQS shows to other consumers; return the number of them that were still recorded."""
        gone = self._pop(lost)
        self.losses += len(gone)
        if gone and (on_left := self.on_left) is not None:
            on_left([], gone)
        if gone and self.wake is not None:
            self.wake()
        return len(gone)

    def orphaned(self, id: int) -> bool:
        return id not in self.held

    def _pop(self, many: Collection[Unacked]) -> list[Unacked]:
        with self._lock:
            gone = [held for held in many if self.held.pop(held.delivery.id, None) is not None]
            for held in gone:
                self.open.pop(held.delivery.id, None)
            if gone and self.journal is not None:
                self.journal.remove([held.delivery.id for held in gone], self.held.values())
        return gone


#: The records of this process by consumer; each lives as long as one of its users.
UNACKED_BY_CONSUMER: Final = SharedByName(SQSUnackedDeliveries)


def find(delivery: Delivery) -> Unacked | None:
    """Find a delivery of any consumer of this process; see :meth:`SQSUnackedDeliveries.find`."""
    return UNACKED_BY_CONSUMER.get(delivery.consumer).find(delivery)


def forget(deleted: Iterable[Unacked], returned: Iterable[Unacked] = ()) -> None:
    """Remove settled deliveries from the records of their consumers."""
    left: dict[str, tuple[list[Unacked], list[Unacked]]] = defaultdict(lambda: ([], []))
    for held in deleted:
        left[held.delivery.consumer][0].append(held)
    for held in returned:
        left[held.delivery.consumer][1].append(held)
    for consumer, (some, others) in left.items():
        UNACKED_BY_CONSUMER.get(consumer).forget(some, others)


def journal_of(consumer: str) -> Journal[Unacked]:
    """Return the journal of a consumer, of this process or of a dead one."""
    return Journal(Unacked, "sqs", consumer)
