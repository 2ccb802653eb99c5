"""One queue of a memory broker: its messages, in all their places, and the heartbeats of its consumers."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count

from gearmesh.interfaces.commit import Delivery, Settle
from gearmesh.interfaces.transport import DeadLetter
from gearmesh.transports.crash_counts import crash_count_after

__all__ = ["MemoryQueue", "StoredMessage", "Unacked"]

#: Seconds for which a message is parked the first time. Each further time doubles them, up to MAX_PARK_S.
MIN_PARK_S = 0.05
MAX_PARK_S = 30.0


@dataclass(slots=True, eq=False)
class StoredMessage:
    """A stored message, which stays the same object in all places: two messages with identical bytes are distinct."""

    body: bytes
    #: True for kombu's own envelope (JSON), False for a raw signature.
    envelope: bool = False
    priority: int = 0
    #: As ``redelivered`` and ``crash_count`` of a Delivery.
    losses: int = 0
    crash_count: float | None = None
    #: Monotonic time at which a worker that has not registered its task first got it, or None.
    unregistered_at: float | None = None
    #: The number of times that a worker has parked it since then.
    parkings: int = 0

    def count_crash(self, *, ran: bool, alone: bool, certain: bool) -> None:
        """Count the death of a process that held this message.

        Args:
            ran: the process ran the message, or it is not known which messages it ran.
            alone: the process ran no other message.
            certain: one of the messages that ran has certainly brought the process down.
        """
        if ran:
            self.crash_count = crash_count_after(
                self.crash_count, lost_before=self.losses > 0, alone=alone, certain=certain
            )
        self.losses += 1


@dataclass(slots=True, eq=False)
class Unacked:
    """An unacked delivery and its message."""

    message: StoredMessage
    delivery: Delivery
    #: All unacked deliveries of the channel that fetched it, by id.
    of_channel: dict[int, Unacked]


class MemoryQueue:
    """Holds the waiting, unacked, parked and dead messages of one queue. The broker's lock guards every call; nothing
    here locks.

    Iteration gives the waiting messages in the order in which consumers get them; ``len()`` counts these.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        #: priority -> waiting messages in order; no deque is ever empty
        self._waiting: dict[int, deque[StoredMessage]] = {}
        #: consumer -> its unacked deliveries by id, in the order of the fetches
        self.unacked: dict[str, dict[int, Unacked]] = {}
        #: consumer -> monotonic time of its last heartbeat
        self.heartbeats: dict[str, float] = {}
        #: heap of (monotonic time of return, tie-breaker, message)
        self.parked: list[tuple[float, int, StoredMessage]] = []
        #: bytes -> dead letter, the longest dead first
        self.dead: dict[bytes, DeadLetter] = {}
        self._numbers = count(1)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[StoredMessage]:
        return chain.from_iterable(self._waiting[level] for level in sorted(self._waiting, reverse=True))

    @property
    def idle(self) -> bool:
        """True if the queue has no message, no dead letter and no consumer."""
        return not (self._waiting or self.unacked or self.parked or self.dead or self.heartbeats)

    # -- waiting ----------------------------------------------------------------------------------

    def put(self, message: StoredMessage, *, head: bool = False) -> None:
        """Add a message at the tail, or the head, of the waiting ones with its priority."""
        level = self._waiting.setdefault(message.priority, deque())
        if head:
            level.appendleft(message)
        else:
            level.append(message)

    def take(self) -> StoredMessage | None:
        """Remove the first waiting message; None if no message waits."""
        if not self._waiting:
            return None
        top = max(self._waiting)
        level = self._waiting[top]
        message = level.popleft()
        if not level:
            del self._waiting[top]
        return message

    def clear(self) -> None:
        """Forget the waiting and the parked messages."""
        self._waiting.clear()
        self.parked.clear()

    # -- unacked ----------------------------------------------------------------------------------

    def beat(self, consumer: str) -> None:
        """Record a heartbeat."""
        self.heartbeats[consumer] = time.monotonic()

    def hold(self, unacked: Unacked) -> None:
        """Record a delivery as unacked."""
        delivery = unacked.delivery
        self.unacked.setdefault(delivery.consumer, {})[delivery.id] = unacked
        unacked.of_channel[delivery.id] = unacked

    def find(self, delivery: Delivery) -> Unacked | None:
        """Find an unacked delivery; None if it was lost or settled."""
        return self.unacked.get(delivery.consumer, {}).get(delivery.id)

    def release(self, unacked: Unacked) -> StoredMessage:
        """Forget that a delivery is unacked, and return its message, which the caller has to put elsewhere."""
        delivery = unacked.delivery
        of_consumer = self.unacked[delivery.consumer]
        del of_consumer[delivery.id]
        del unacked.of_channel[delivery.id]
        if not of_consumer:
            del self.unacked[delivery.consumer]
        return unacked.message

    # -- parked and dead --------------------------------------------------------------------------

    def park(self, message: StoredMessage, settle: Settle, now: float, unix: float) -> bool:
        """Park a message of an unregistered task; True if it was too old, so that it is a dead letter now.

        Args:
            now: monotonic seconds.
            unix: the same moment in unix seconds.
        """
        if message.unregistered_at is None:
            message.unregistered_at = now
            self.put(message)
        elif now - message.unregistered_at >= settle.max_age:
            self.dead_letter(message, f"no worker has registered the task {settle.reason}".rstrip(), unix)
            return True
        else:
            self.put_off(message, now + min(MAX_PARK_S, MIN_PARK_S * 2.0 ** min(message.parkings, 16)))
            message.parkings += 1
        return False

    def put_off(self, message: StoredMessage, due: float) -> None:
        """Park a message until ``due`` by the monotonic clock."""
        heapq.heappush(self.parked, (due, next(self._numbers), message))

    def return_parked(self, now: float) -> float | None:
        """Move due parked messages to the tail; return the monotonic time at which the next is due, or None."""
        while self.parked and self.parked[0][0] <= now:
            self.put(heapq.heappop(self.parked)[2])
        return self.parked[0][0] if self.parked else None

    def dead_letter(self, message: StoredMessage, reason: str, unix: float) -> None:
        """Make the message a dead letter; if there is one with these bytes, raise its count."""
        old = self.dead.pop(message.body, None)
        self.dead[message.body] = DeadLetter(
            queue=self.name,
            body=message.body,
            reason=reason,
            count=1 + (old.count if old else 0),
            first=old.first if old else unix,
            last=unix,
        )
