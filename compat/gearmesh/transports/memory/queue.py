"""One queue of a memory broker, and everything that belongs to it."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import chain, count, islice

from gearmesh.interfaces.commit import Delivery, Settle
from gearmesh.interfaces.transport import DeadLetter, ParkedMessage, QueueCounts

__all__ = ["ChannelUnacked", "MemoryQueue", "StoredMessage", "Unacked"]

#: Seconds a message for a name not registered waits the second time it is met; doubles, up to LONGEST.
MIN_PARK_S = 0.05
MAX_PARK_S = 30.0


@dataclass(slots=True, eq=False)
class StoredMessage:
    """A message: the same object wherever it waits, so two with identical bytes are two."""

    body: bytes
    #: True for kombu's own envelope (JSON), False for a raw signature.
    envelope: bool = False
    priority: int = 0
    #: As ``redelivered`` and ``crash_count`` of a Delivery.
    lost: int = 0
    crash_count: float | None = None
    #: Monotonic time of its first "aside", or None; how often it was parked since.
    met: float | None = None
    rounds: int = 0

    def blame(self, ran: bool, alone: bool, certain: bool) -> None:
        """A consumer that held it is lost. ``ran``: it was running, as far as one knows."""
        self.lost += 1
        if ran:
            if self.crash_count is None and (certain or self.lost > 1):
                self.crash_count = 0
            if self.crash_count is not None and alone:
                self.crash_count += 1 if certain else 0.25


@dataclass(slots=True, eq=False)
class ChannelUnacked:
    """What one channel has fetched and nobody has settled, by id."""

    held: dict[int, Unacked] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Unacked:
    """A lease: this item is with that delivery's consumer."""

    item: StoredMessage
    delivery: Delivery
    owner: ChannelUnacked


class MemoryQueue:
    """A queue: waiting, held and set-aside items, dead letters, and its consumers' heartbeats.

    Not locked: the broker's lock guards every call.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        #: priority -> items in order; no deque is ever empty
        self._waiting: dict[int, deque[StoredMessage]] = {}
        #: consumer -> what it holds, oldest first
        self.held: dict[str, dict[int, Unacked]] = {}
        #: consumer -> number of its last heartbeat; no number comes twice
        self.beats: dict[str, int] = {}
        #: heap of (monotonic time of return, tie, item)
        self._aside: list[tuple[float, int, StoredMessage]] = []
        self._ties = count(1)
        self._dead: dict[bytes, DeadLetter] = {}

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[StoredMessage]:
        return chain.from_iterable(self._waiting[level] for level in sorted(self._waiting, reverse=True))

    def peek(self, limit: int) -> list[StoredMessage]:
        """The first ``limit`` waiting items."""
        return list(islice(self, limit))

    def put(self, item: StoredMessage, *, head: bool = False) -> None:
        """Let an item wait behind, or before, all others of its priority."""
        level = self._waiting.setdefault(item.priority, deque())
        if head:
            level.appendleft(item)
        else:
            level.append(item)

    def take(self) -> StoredMessage | None:
        """The first waiting item: the highest priority, then the longest waiting."""
        if not self._waiting:
            return None
        top = max(self._waiting)
        level = self._waiting[top]
        item = level.popleft()
        if not level:
            del self._waiting[top]
        return item

    def purge(self) -> list[bytes]:
        """Forget what waits or is parked; the messages. What is held stays held."""
        gone = [item.body for item in self] + [item.body for _, _, item in self._aside]
        self._waiting.clear()
        self._aside.clear()
        return gone

    def count(self) -> QueueCounts:
        """How many messages are where."""
        return QueueCounts(
            queue=self.name,
            pending=len(self),
            held=sum(map(len, self.held.values())),
            aside=len(self._aside),
            dead=len(self._dead),
            consumers=len(self.beats),
            silent=0,
        )

    @property
    def idle(self) -> bool:
        """Nothing is here, and nobody."""
        return not (self._waiting or self.held or self._aside or self._dead or self.beats)

    # -- leases ---------------------------------------------------------------------------------

    def hold(self, held: Unacked) -> None:
        """Note a lease."""
        delivery = held.delivery
        self.held.setdefault(delivery.consumer, {})[delivery.id] = held
        held.owner.held[delivery.id] = held

    def find(self, delivery: Delivery) -> Unacked | None:
        """The lease of a delivery, or None when it was lost or settled."""
        return self.held.get(delivery.consumer, {}).get(delivery.id)

    def release(self, held: Unacked) -> None:
        """End a lease, whatever becomes of its item."""
        delivery = held.delivery
        theirs = self.held[delivery.consumer]
        del theirs[delivery.id]
        del held.owner.held[delivery.id]
        if not theirs:
            del self.held[delivery.consumer]

    def beat(self, consumer: str) -> None:
        """Count a heartbeat."""
        self.beats[consumer] = next(self._ties)

    def recover(
        self,
        consumer: str,
        *,
        lost: bool,
        running: Collection[int] | None = None,
        certain: bool = True,
    ) -> int:
        """Put back, in order and before all others, what a dead consumer held."""
        theirs = sorted(self.held.get(consumer, {}).values(), key=lambda held: held.delivery.id, reverse=True)
        for held in theirs:
            self.release(held)
            if lost:
                alone = len(theirs if running is None else running) == 1
                ran = running is None or held.delivery.id in running
                held.item.blame(ran, alone, certain and running is not None)
            self.put(held.item, head=True)
        self.beats.pop(consumer, None)
        return len(theirs)

    # -- parked and dead -----------------------------------------------------------------------

    def set_aside(self, item: StoredMessage, settle: Settle, now: float, unix: float) -> bool:
        """To the tail at the first meeting; later out of the way for a while; at last a dead letter: then True."""
        if item.met is None:
            item.met = now
            self.put(item)
        elif now - item.met >= settle.max_age:
            self.dead_letter(item, f"no worker has registered the task {settle.reason}".rstrip(), unix)
            return True
        else:
            pause = min(MAX_PARK_S, MIN_PARK_S * 2.0 ** min(item.rounds, 16))
            item.rounds += 1
            heapq.heappush(self._aside, (now + pause, next(self._ties), item))
        return False

    def put_off(self, item: StoredMessage, due: float) -> None:
        """Out of the way until ``due`` by the monotonic clock."""
        heapq.heappush(self._aside, (due, next(self._ties), item))

    def parked(self, limit: int, now: float, unix: float) -> list[ParkedMessage]:
        """See :class:`gearmesh.interfaces.transport.SupportsParkedListing`; ``now`` by the monotonic clock, ``unix``
        seconds."""

        def since(item: StoredMessage) -> float | None:
            return None if item.met is None else unix + item.met - now

        first = heapq.nsmallest(limit, self._aside, key=lambda entry: entry[:2])
        away = [ParkedMessage(item.body, unix + due - now, since(item)) for due, _, item in first]
        back = [ParkedMessage(item.body, None, since(item)) for item in self if item.met is not None]
        return [*away, *back][:limit]

    def next_return(self) -> float | None:
        """Monotonic time at which the next set-aside item returns."""
        return self._aside[0][0] if self._aside else None

    def return_aside(self, now: float) -> None:
        """Let what was parked long enough wait again, behind all others."""
        while self._aside and self._aside[0][0] <= now:
            self.put(heapq.heappop(self._aside)[2])

    def dead_letter(self, item: StoredMessage, reason: str, unix: float) -> None:
        """Make a dead letter; the same bytes again only count."""
        old = self._dead.pop(item.body, None)
        self._dead[item.body] = DeadLetter(
            queue=self.name,
            body=item.body,
            reason=reason,
            count=1 + (old.count if old else 0),
            first=old.first if old else unix,
            last=unix,
        )

    def dead(self, limit: int) -> list[DeadLetter]:
        """The first ``limit`` dead letters, the longest dead first."""
        return list(islice(self._dead.values(), limit))

    def take_dead(self, ids: Collection[str], retry: bool) -> int:
        """Remove dead letters, and let them wait again, behind all others, if ``retry``; how many there were."""
        letters = [letter for letter in self._dead.values() if letter.id in ids]
        for letter in letters:
            del self._dead[letter.body]
            if retry:
                self.put(StoredMessage(letter.body))
        return len(letters)
