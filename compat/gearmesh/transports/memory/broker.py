"""The broker behind ``memory://NAME``: all its queues, under one lock."""

from __future__ import annotations

import heapq
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from typing import Final, Protocol

from kombu.transport.virtual import BrokerState

from gearmesh.interfaces.commit import Commit, Delivery, Outcome, Publish, Settle, Token
from gearmesh.interfaces.transport import DeadLetter, DelayedMessage, ParkedMessage, QueueCounts, RateRequest
from gearmesh.shared import SharedByName
from gearmesh.transports.memory.queue import ChannelUnacked, MemoryQueue, StoredMessage, Unacked
from gearmesh.transports.rate_limit import LocalRateLimiter
from gearmesh.wire.state import TaskState

__all__ = ["BROKERS", "Broker", "States"]

#: Batches whose outcomes are remembered, in case they are repeated.
MAX_REMEMBERED_BATCHES = 10_000


class States(Protocol):
    """What a backend offers when its states can be written in the broker's own step."""

    def locked(self) -> AbstractContextManager[object]:
        """Holds off all others; the methods below are called inside."""

    def write(self, states: Sequence[TaskState]) -> None:
        """As :meth:`gearmesh.interfaces.backend.Backend.write`."""

    def complete(self, group_uuid: str, members: int) -> bool:
        """True if the group has that many members and all are final; False if it is not known."""

    def take(self, group_uuid: str, by: str) -> bool:
        """Take the chord trigger; False if another has it or the group is not known."""


class Broker:
    """Queues shared by all connections of this process that name it. Safe in threads.

    Nothing leaves the process: a forked child has a copy of its own.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        #: Guards everything here; notified whenever something may have become possible.
        self.changed = threading.Condition(threading.RLock())
        #: kombu's exchanges and bindings.
        self.exchanges = BrokerState()
        self._lines: dict[str, MemoryQueue] = {}
        self._delayed: list[tuple[int, int, str, StoredMessage]] = []
        self._numbers = count(1)
        self._sent: OrderedDict[tuple[str, int], list[Outcome]] = OrderedDict()
        self._rates = LocalRateLimiter()

    # -- queues (the caller holds the lock where it uses a Line) ----------------------------------

    def line(self, queue: str) -> MemoryQueue:
        """A queue; it begins to exist when it is first named."""
        found = self._lines.get(queue)
        if found is None:
            found = self._lines[queue] = MemoryQueue(queue)
        return found

    def has(self, queue: str) -> bool:
        """True if the queue was ever named."""
        return queue in self._lines

    def delete(self, queue: str) -> None:
        """Forget a queue and all that waits in it."""
        with self.changed:
            self._lines.pop(queue, None)

    def put(self, queue: str, item: StoredMessage) -> None:
        """Let an item wait in a queue."""
        with self.changed:
            self.line(queue).put(item)
            self.changed.notify_all()

    def fetch(
        self, owner: ChannelUnacked, consumer: str, queue: str, most: int, *, keep: bool = True
    ) -> list[Unacked]:
        """Take up to ``most`` items; ``keep``: under a lease. Counts as a heartbeat."""
        taken: list[Unacked] = []
        with self.changed:
            line = self.line(queue)
            line.beat(consumer)
            while len(taken) < most and (item := line.take()) is not None:
                number = next(self._numbers)
                delivery = Delivery(
                    queue=queue,
                    consumer=consumer,
                    id=number,
                    redelivered=item.lost,
                    crash_count=item.crash_count,
                )
                held = Unacked(item, delivery, owner)
                if keep:
                    line.hold(held)
                taken.append(held)
        return taken

    def put_back(self, leases: Iterable[Unacked]) -> None:
        """Give leases up: their items go before all others, in the order they had."""
        with self.changed:
            for held in sorted(leases, key=lambda held: held.delivery.id, reverse=True):
                line = self.line(held.delivery.queue)
                if line.find(held.delivery) is held:
                    line.release(held)
                    line.put(held.item, head=True)
            self.changed.notify_all()

    def advance(self) -> float | None:
        """Let what has become due wait in its queue; seconds until the next is due, or None."""
        now_ns, now = time.time_ns(), time.monotonic()
        while self._delayed and self._delayed[0][0] <= now_ns:
            _, _, queue, item = heapq.heappop(self._delayed)
            self.line(queue).put(item)
        pauses = [(self._delayed[0][0] - now_ns) / 1e9] if self._delayed else []
        for line in self._lines.values():
            line.return_aside(now)
            due = line.next_return()
            if due is not None:
                pauses.append(due - now)
        return max(0.0, min(pauses)) if pauses else None

    # -- commits ----------------------------------------------------------------------------------

    def commit(
        self, commits: Sequence[Commit], token: Token | None = None, states: States | None = None
    ) -> list[Outcome]:
        """See :meth:`gearmesh.interfaces.transport.Channel.commit`; ``states`` when it is atomic."""
        with self.changed:
            key = None if token is None else (token.producer, token.seq)
            if key is not None and key in self._sent:
                return list(self._sent[key])
            outcomes: list[Outcome] = ["done"] * len(commits)
            with states.locked() if states is not None else nullcontext():
                for index in sorted(range(len(commits)), key=lambda i: _turn(commits[i])):
                    outcomes[index] = self._commit(commits[index], states)
            if key is not None:
                self._sent[key] = list(outcomes)
                if len(self._sent) > MAX_REMEMBERED_BATCHES:
                    self._sent.popitem(last=False)
            self.changed.notify_all()
            return outcomes

    def _commit(self, commit: Commit, states: States | None) -> Outcome:
        settle, held = commit.settle, None
        if settle is not None:
            held = self.line(settle.delivery.queue).find(settle.delivery)
            if held is None:
                return "lost"
        won = None
        if states is not None:
            states.write(commit.states)
            chord, trigger = commit.chord, commit.trigger
            if chord is not None and states.complete(chord.group_uuid, chord.count):
                return "complete"
            if trigger is not None and states.take(trigger.group_uuid, trigger.by):
                won = trigger
                states.write(won.states)
        for publish in (*commit.publishes, *(won.publishes if won is not None else ())):
            self._publish(publish)
        if settle is not None and held is not None and settle.how != "keep":
            return self._settle(held, settle)
        return "done"

    def _publish(self, publish: Publish) -> None:
        item = StoredMessage(publish.body, priority=publish.priority)
        if publish.eta_ns > time.time_ns():
            heapq.heappush(self._delayed, (publish.eta_ns, next(self._numbers), publish.queue, item))
        else:
            self.line(publish.queue).put(item)

    def _settle(self, held: Unacked, settle: Settle) -> Outcome:
        line, item = self.line(held.delivery.queue), held.item
        line.release(held)
        if settle.how == "head":
            line.put(item, head=True)
        elif settle.how == "tail":
            line.put(item)
        elif settle.how == "park":
            if line.set_aside(item, settle, time.monotonic(), time.time()):
                return "expired"
        elif settle.how == "later":
            line.put_off(item, time.monotonic() + (settle.at_ns - time.time_ns()) / 1e9)
        elif settle.how == "dead":
            line.dead_letter(item, settle.reason, time.time())
        return "done"

    # -- for people and supervisors -----------------------------------------------------------------

    def heartbeat(self, consumer: str, queues: Iterable[str]) -> None:
        """Count a heartbeat of ``consumer`` on each queue that it consumes from."""
        with self.changed:
            for line in map(self.line, queues):
                if consumer in line.beats:
                    line.beat(consumer)

    def held(self, consumer: str, queues: Iterable[str]) -> list[tuple[Delivery, bytes]]:
        """What a consumer holds."""
        with self.changed:
            leases = [held for queue in queues for held in self.line(queue).held.get(consumer, {}).values()]
        return [(held.delivery, held.item.body) for held in leases]

    def recover(
        self,
        consumer: str,
        queues: Iterable[str],
        *,
        lost: bool,
        running: Collection[int] | None = None,
        certain: bool = True,
    ) -> int:
        """Put back what a dead consumer held; how many there were."""
        with self.changed:
            found = sum(
                self.line(queue).recover(consumer, lost=lost, running=running, certain=certain)
                for queue in queues
            )
            self.changed.notify_all()
            return found

    def leave(self, consumer: str) -> None:
        """Forget the heartbeats of a consumer that holds nothing any more."""
        with self.changed:
            for line in self._lines.values():
                if consumer not in line.held:
                    line.beats.pop(consumer, None)

    def pending(self, queue: str, limit: int) -> list[bytes]:
        """The first waiting messages."""
        with self.changed:
            return [item.body for item in self.line(queue).peek(limit)]

    def delayed(self, limit: int) -> list[DelayedMessage]:
        """The messages that are due first."""
        with self.changed:
            soonest = heapq.nsmallest(limit, self._delayed, key=lambda entry: entry[:2])
        return [DelayedMessage(item.body, eta) for eta, _, _, item in soonest]

    def queues(self) -> list[str]:
        """The queues where anything is."""
        with self.changed:
            return sorted(name for name, line in self._lines.items() if not line.idle)

    def count(self, queue: str) -> QueueCounts:
        """How many messages are where."""
        with self.changed:
            return self._lines[queue].count() if queue in self._lines else MemoryQueue(queue).count()

    def parked(self, queue: str, limit: int) -> list[ParkedMessage]:
        """The messages that are out of the way and return first."""
        with self.changed:
            return self.line(queue).parked(limit, time.monotonic(), time.time())

    def purge(self, queue: str) -> list[bytes]:
        """Delete what waits or is parked; the messages."""
        with self.changed:
            return self.line(queue).purge()

    def purge_delayed(self, queue: str) -> list[bytes]:
        """Delete what is delayed for a queue; the messages."""
        with self.changed:
            gone = [entry[3].body for entry in self._delayed if entry[2] == queue]
            self._delayed = [entry for entry in self._delayed if entry[2] != queue]
            heapq.heapify(self._delayed)
            return gone

    def dead_letters(self, queue: str, limit: int) -> list[DeadLetter]:
        """The longest dead first."""
        with self.changed:
            return self.line(queue).dead(limit)

    def reserve(self, requests: Sequence[RateRequest]) -> list[int]:
        """For each: 0, it may run now; else the unix ns of a moment reserved for it."""
        with self.changed:
            return [self._rates.reserve(request) for request in requests]

    def take_dead(self, queue: str, ids: Collection[str], retry: bool) -> int:
        """Remove dead letters, and let them wait again if ``retry``; how many there were."""
        with self.changed:
            count = self.line(queue).take_dead(ids, retry)
            self.changed.notify_all()
            return count


def _turn(commit: Commit) -> tuple[int, int]:
    """Sorts what goes to the head last, the newest first: so the oldest ends up before all others."""
    settle = commit.settle
    if settle is not None and settle.how == "head":
        return 1, -settle.delivery.id
    return 0, 0


#: The brokers of this process by name; each lives as long as a connection that names it.
BROKERS: Final = SharedByName(Broker)
