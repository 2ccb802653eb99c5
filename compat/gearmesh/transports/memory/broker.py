"""The broker behind ``memory://NAME``: all queues of one name, under one lock."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import count, islice
from math import inf
from typing import Final, Protocol, runtime_checkable

from kombu.transport.virtual import BrokerState

from gearmesh.bounded_dict import BoundedDict
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import Commit, Delivery, Outcome, Publish, Settle, Token, heads_last
from gearmesh.interfaces.transport import (
    DeadLetter,
    DelayedMessage,
    DeletedCallback,
    ParkedMessage,
    QueueCounts,
    RateRequest,
)
from gearmesh.shared import SharedByName
from gearmesh.transports.memory.queue import MemoryQueue, StoredMessage, Unacked
from gearmesh.transports.rate_limit import LocalRateLimiter

__all__ = ["BROKERS", "Broker", "InProcessBackend"]

#: Number of batches whose outcomes the broker remembers, in case a sender repeats one.
MAX_REMEMBERED_BATCHES = 10_000


@runtime_checkable
class InProcessBackend(Backend, Protocol):
    """A backend in this process: the broker writes its states in the same step in which it settles."""

    def locked(self) -> AbstractContextManager[object]:
        """Keep all other users of the backend waiting; the broker calls the other methods under this lock."""


class Broker:
    """Holds the queues that all connections to this broker share. Safe in threads.

    The verbs are those of :class:`gearmesh.interfaces.transport.Channel`, ``SupportsInspection`` and
    ``SupportsParkedListing``, which describe them; :class:`~.channel.Channel` offers them as its own.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        #: Guards all that the broker holds. Notified when a waiting channel may have something to do.
        self.changed = threading.Condition(threading.RLock())
        #: kombu's exchanges and bindings.
        self.exchanges = BrokerState()
        self._queues: dict[str, MemoryQueue] = {}
        #: heap of (unix ns, tie-breaker, queue, message)
        self._delayed: list[tuple[int, int, str, StoredMessage]] = []
        self._numbers = count(1)
        #: the outcomes of earlier batches, by token
        self._outcomes = BoundedDict[Token, list[Outcome]](MAX_REMEMBERED_BATCHES)
        self._rates = LocalRateLimiter()

    def now_ns(self) -> int:
        """Return the time in unix ns by the clock for delayed messages. A test's broker has a clock of its own."""
        return time.time_ns()

    def due_ns(self, eta_ns: int, delay_ns: int) -> int:
        """Return the time by that clock at which a message is due whose ETA is ``delay_ns`` from now."""
        return eta_ns

    # -- queues ---------------------------------------------------------------------------------------

    def queue(self, name: str) -> MemoryQueue:
        """Return a queue; make it when it is first named. The caller holds the lock."""
        found = self._queues.get(name)
        if found is None:
            found = self._queues[name] = MemoryQueue(name)
        return found

    def has(self, queue: str) -> bool:
        """True if the queue was ever named."""
        return queue in self._queues

    def delete(self, queue: str) -> None:
        """Forget a queue and all its messages."""
        with self.changed:
            self._queues.pop(queue, None)

    def put(self, queue: str, message: StoredMessage) -> None:
        """Put a message at the tail of a queue."""
        with self.changed:
            self.queue(queue).put(message)
            self.changed.notify_all()

    def fetch(
        self, of_channel: dict[int, Unacked], consumer: str, queue: str, limit: int, *, no_ack: bool = False
    ) -> list[Unacked]:
        """Take up to ``limit`` messages; this counts as a heartbeat.

        Args:
            of_channel: the channel's unacked deliveries by id; the new ones are added to it.
            no_ack: settle the messages at once, so that no delivery becomes unacked.
        """
        taken: list[Unacked] = []
        with self.changed:
            source = self.queue(queue)
            source.beat(consumer)
            while len(taken) < limit and (message := source.take()) is not None:
                delivery = Delivery(
                    queue=queue,
                    consumer=consumer,
                    id=next(self._numbers),
                    redelivered=message.losses,
                    crash_count=message.crash_count,
                )
                taken.append(Unacked(message, delivery, of_channel))
                if not no_ack:
                    source.hold(taken[-1])
        return taken

    def put_back(self, deliveries: Iterable[Unacked]) -> None:
        """Return deliveries to the heads of their queues, in the order they had; leave out settled ones."""
        with self.changed:
            for unacked in sorted(deliveries, key=lambda each: each.delivery.id, reverse=True):
                queue = self.queue(unacked.delivery.queue)
                if queue.find(unacked.delivery) is unacked:
                    queue.put(queue.release(unacked), head=True)
            self.changed.notify_all()

    def advance(self) -> float | None:
        """Move due messages, delayed or parked, to their queues.

        Returns the seconds until the next one is due, or None. The caller holds the lock.
        """
        now_ns, now = self.now_ns(), time.monotonic()
        while self._delayed and self._delayed[0][0] <= now_ns:
            _, _, name, message = heapq.heappop(self._delayed)
            self.queue(name).put(message)
        waits = [(self._delayed[0][0] - now_ns) / 1e9] if self._delayed else []
        waits += [
            due - now for queue in self._queues.values() if (due := queue.return_parked(now)) is not None
        ]
        return max(0.0, min(waits)) if waits else None

    # -- commits ----------------------------------------------------------------------------------

    def commit(
        self, commits: Sequence[Commit], token: Token | None = None, backend: InProcessBackend | None = None
    ) -> list[Outcome]:
        """Carry out Commits, as the channel's verb does; ``backend``: the enlisted backend, or None."""
        with self.changed:
            if token is not None and (known := self._outcomes.get(token)) is not None:
                return list(known)
            outcomes: list[Outcome] = ["done"] * len(commits)
            with backend.locked() if backend is not None else nullcontext():
                for index in sorted(range(len(commits)), key=lambda i: heads_last(commits[i])):
                    outcomes[index] = self._commit(commits[index], backend)
            if token is not None:
                self._outcomes.put(token, list(outcomes))
            self.changed.notify_all()
            return outcomes

    def _commit(self, commit: Commit, backend: InProcessBackend | None) -> Outcome:
        settle, unacked = commit.settle, None
        if settle is not None:
            unacked = self.queue(settle.delivery.queue).find(settle.delivery)
            if unacked is None:
                return "lost"
        won = None
        if backend is not None:
            backend.write(commit.states)
            chord, trigger = commit.chord, commit.trigger
            if chord is not None:
                group = backend.read_group(chord.group_uuid)
                if group is not None and len(group.TaskUUIDs) == chord.count and backend.finished(group):
                    return "complete"
            if trigger is not None and backend.read_group(trigger.group_uuid) is not None:
                won = trigger if backend.trigger(trigger.group_uuid, trigger.by) else None
            if won is not None:
                backend.write(won.states)
        for publish in (*commit.publishes, *(won.publishes if won is not None else ())):
            self._publish(publish)
        if settle is not None and unacked is not None and settle.how != "keep":
            return self._settle(unacked, settle)
        return "done"

    def _publish(self, publish: Publish) -> None:
        message = StoredMessage(publish.body, priority=publish.priority)
        delay_ns = publish.eta_ns - time.time_ns()
        if delay_ns > 0:
            due_ns = self.due_ns(publish.eta_ns, delay_ns)
            heapq.heappush(self._delayed, (due_ns, next(self._numbers), publish.queue, message))
        else:
            self.queue(publish.queue).put(message)

    def _settle(self, unacked: Unacked, settle: Settle) -> Outcome:
        queue = self.queue(unacked.delivery.queue)
        message = queue.release(unacked)
        if settle.how == "head":
            queue.put(message, head=True)
        elif settle.how == "tail":
            queue.put(message)
        elif settle.how == "park":
            if queue.park(message, settle, time.monotonic(), time.time()):
                return "expired"
        elif settle.how == "later":
            queue.put_off(message, time.monotonic() + (settle.at_ns - time.time_ns()) / 1e9)
        elif settle.how == "dead":
            queue.dead_letter(message, settle.reason, time.time())
        return "done"

    # -- consumers --------------------------------------------------------------------------------

    def heartbeat(self, consumer: str, queues: Iterable[str]) -> None:
        with self.changed:
            for queue in map(self.queue, queues):
                if consumer in queue.heartbeats:
                    queue.beat(consumer)

    def held(self, consumer: str, queues: Iterable[str]) -> list[tuple[Delivery, bytes]]:
        with self.changed:
            found = [
                each for queue in queues for each in self.queue(queue).unacked.get(consumer, {}).values()
            ]
        return [(each.delivery, each.message.body) for each in found]

    def recover(
        self,
        consumer: str,
        queues: Iterable[str],
        *,
        crashed: bool = False,
        running: Collection[int] | None = None,
        certain: bool = True,
    ) -> int:
        total = 0
        with self.changed:
            for queue in map(self.queue, queues):
                found = queue.unacked.get(consumer, {})
                alone = len(found if running is None else running) == 1
                for unacked in sorted(found.values(), key=lambda each: each.delivery.id, reverse=True):
                    message = queue.release(unacked)
                    if crashed:
                        ran = running is None or unacked.delivery.id in running
                        message.count_crash(ran=ran, alone=alone, certain=certain and running is not None)
                    queue.put(message, head=True)
                    total += 1
                queue.heartbeats.pop(consumer, None)
            self.changed.notify_all()
        return total

    def reap(self, consumer: str, queues: Iterable[str], lease: float) -> float:
        """Recover the deliveries of each consumer but ``consumer`` that has sent no heartbeat for ``lease`` seconds.

        Returns the seconds until the next consumer may be dead; infinity if no other one has unacked deliveries.
        """
        soonest, now = inf, time.monotonic()
        with self.changed:
            for queue in map(self.queue, queues):
                for other in [each for each in queue.unacked if each != consumer]:
                    left = queue.heartbeats[other] + lease - now
                    if left > 0:
                        soonest = min(soonest, left)
                    else:
                        self.recover(other, [queue.name], crashed=True)
        return soonest

    def leave(self, consumer: str) -> None:
        """Forget the heartbeats of a consumer, except where it has unacked deliveries."""
        with self.changed:
            for queue in self._queues.values():
                if consumer not in queue.unacked:
                    queue.heartbeats.pop(consumer, None)

    def reserve(self, requests: Sequence[RateRequest]) -> list[int]:
        return [self._rates.reserve(request) for request in requests]

    # -- inspection -------------------------------------------------------------------------------

    def queues(self) -> list[str]:
        with self.changed:
            return sorted(name for name, queue in self._queues.items() if not queue.idle)

    def count(self, queue: str) -> QueueCounts:
        with self.changed:
            found = self._queues.get(queue, MemoryQueue(queue))
            return QueueCounts(
                queue=queue,
                pending=len(found),
                held=sum(map(len, found.unacked.values())),
                parked=len(found.parked),
                dead=len(found.dead),
                consumers=len(found.heartbeats),
                silent=0,
            )

    def pending(self, queue: str, limit: int = 1000) -> list[bytes]:
        with self.changed:
            return [message.body for message in islice(self.queue(queue), limit)]

    def delayed(self, limit: int = 1000) -> list[DelayedMessage]:
        with self.changed:
            soonest = heapq.nsmallest(limit, self._delayed, key=lambda entry: entry[:2])
        return [DelayedMessage(message.body, eta_ns) for eta_ns, _, _, message in soonest]

    def parked(self, queue: str, limit: int) -> list[ParkedMessage]:
        with self.changed:
            offset = time.time() - time.monotonic()

            def since(message: StoredMessage) -> float | None:
                return None if message.unregistered_at is None else offset + message.unregistered_at

            found = self.queue(queue)
            first = heapq.nsmallest(limit, found.parked, key=lambda entry: entry[:2])
            away = [ParkedMessage(message.body, offset + due, since(message)) for due, _, message in first]
            back = [ParkedMessage(each.body, None, since(each)) for each in found if since(each) is not None]
            return [*away, *back][:limit]

    def pending_page(self, queue: str, start: int, count: int) -> list[bytes]:
        with self.changed:
            return [message.body for message in islice(self.queue(queue), start, start + count)]

    def delayed_page(self, start: int, count: int) -> list[DelayedMessage]:
        return self.delayed(start + count)[start:]

    def delayed_count(self) -> int:
        with self.changed:
            return len(self._delayed)

    def dead_page(self, queue: str, start: int, count: int) -> list[DeadLetter]:
        return self.dead_letters(queue, start + count)[start:]

    def walk_queues(self, cursor: str, count: int) -> tuple[str, set[str]]:
        return "", set(self.queues())

    def purge(self, queue: str, gone: DeletedCallback | None = None) -> int:
        with self.changed:
            found = self.queue(queue)
            bodies = [each.body for each in found] + [each.body for _, _, each in found.parked]
            found.clear()
        return _report(bodies, gone)

    def purge_delayed(self, queue: str, gone: DeletedCallback | None = None) -> int:
        with self.changed:
            bodies = [entry[3].body for entry in self._delayed if entry[2] == queue]
            self._delayed = [entry for entry in self._delayed if entry[2] != queue]
            heapq.heapify(self._delayed)
        return _report(bodies, gone)

    def dead_letters(self, queue: str, limit: int = 1000) -> list[DeadLetter]:
        with self.changed:
            return list(islice(self.queue(queue).dead.values(), limit))

    def take_dead(self, queue: str, ids: Collection[str], *, retry: bool) -> int:
        with self.changed:
            found = self.queue(queue)
            letters = [letter for letter in found.dead.values() if letter.id in ids]
            for letter in letters:
                del found.dead[letter.body]
                if retry:
                    found.put(StoredMessage(letter.body))
            self.changed.notify_all()
            return len(letters)


def _report(bodies: list[bytes], gone: DeletedCallback | None) -> int:
    """Give deleted messages to the callback, outside the broker's lock; return their number."""
    if gone is not None and bodies:
        gone(bodies)
    return len(bodies)


#: The brokers of this process by name; each lives as long as a connection that names it.
BROKERS: Final = SharedByName(Broker)
