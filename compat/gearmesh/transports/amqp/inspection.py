"""The inspector counts, lists, purges and recovers messages, for people and supervisors; it needs no consumer."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from gearmesh.errors import GearmeshError, RemoteProtocolError
from gearmesh.interfaces.commit import Delivery
from gearmesh.interfaces.transport import (
    DeadLetter,
    DelayedMessage,
    DeletedCallback,
    ParkedMessage,
    QueueCounts,
    RateRequest,
)
from gearmesh.transports.amqp.commit_engine import (
    DEAD_AT_HEADER,
    DEAD_REASON_HEADER,
    LOST_HEADER,
    PARKED_HEADER,
    first_met,
)
from gearmesh.transports.amqp.frames import OutgoingMessage
from gearmesh.transports.amqp.look import MAX_CHANNELS, RETURNED_IN_ORDER, Look
from gearmesh.transports.amqp.message import body_of
from gearmesh.transports.amqp.publisher import DUPLICATE_ATTEMPT_HEADER
from gearmesh.transports.amqp.unacked import UNACKED_BY_CONSUMER, digest_of
from gearmesh.wire.codec import decode
from gearmesh.wire.gotime import parse
from gearmesh.wire.names import PREFIX, amqp_dead

if TYPE_CHECKING:
    from gearmesh.transports.amqp.connection import AMQPConnection
    from gearmesh.transports.amqp.poison_records import PoisonRecords
    from gearmesh.transports.amqp.topology import Topology
    from gearmesh.transports.amqp.unacked import Unacked
    from gearmesh.transports.rate_limit import LocalRateLimiter

__all__ = ["Inspector"]

#: Number of messages that a purge takes at a time if a callback gets their bodies.
PURGE_BATCH_MESSAGES: Final = 256
#: Headers about the earlier deliveries of a message.
_HISTORY_HEADERS: Final = (
    DUPLICATE_ATTEMPT_HEADER,
    PARKED_HEADER,
    DEAD_AT_HEADER,
    DEAD_REASON_HEADER,
    LOST_HEADER,
)


class Inspector:
    """Has the verbs of a channel for people and supervisors.

    :class:`gearmesh.interfaces.transport.SupportsInspection` and :class:`gearmesh.interfaces.transport.Channel`
    describe each verb.

    Args:
        link: the connection of the channel.
        poison_records: the records of messages that ran when a process died.
        rates: the rate limiter of this process.
        barrier: waits until RabbitMQ has carried out all earlier commands of the channel.
    """

    def __init__(
        self,
        link: AMQPConnection,
        poison_records: PoisonRecords,
        rates: LocalRateLimiter,
        barrier: Callable[[], None],
    ) -> None:
        self.link = link
        self.topology = link.topology
        self.poison_records = poison_records
        self.rates = rates
        self._barrier = barrier
        self._missing_ttl_s = float(link.options.get("missing_ttl", 0.0))
        #: queue -> monotonic time until which its missing queue of dead letters is not asked for
        self._without_dead: dict[str, float] = {}

    def heartbeat(self, consumer: str, queues: Iterable[str]) -> None:
        """Record a sign of life of a consumer of this process. RabbitMQ itself notices when another process is gone."""
        UNACKED_BY_CONSUMER.get(consumer).alive_at = time.monotonic()

    def reap(self, queues: Iterable[str]) -> float:
        """Return infinity: RabbitMQ itself returns the deliveries of a lost connection."""
        return float("inf")

    def held(self, consumer: str, queues: Iterable[str]) -> list[tuple[Delivery, bytes]]:
        """List the deliveries that a consumer of this process holds; RabbitMQ does not show those of others."""
        return [(each.delivery, each.body) for each in _held(consumer, queues)]

    def recover(
        self,
        consumer: str,
        queues: Iterable[str],
        *,
        crashed: bool = False,
        running: Collection[int] | None = None,
        certain: bool = True,
    ) -> int:
        """Record the messages that a dead process ran, and return the deliveries of a consumer of this process.

        RabbitMQ has returned the deliveries of another process when its connection ended.
        """
        found = _held(consumer, queues)
        if crashed:
            ids = [each.delivery.id for each in found] if running is None else list(running)
            with self.link.lock:
                for id in ids:
                    self.poison_records.note(
                        digest_of(id), alone=len(ids) == 1, certain=certain and running is not None
                    )
        for each in found:
            tags = each.tags
            if tags is None:
                UNACKED_BY_CONSUMER.get(consumer).forget(each.delivery.id)
            elif tags.open:
                tags.channel.return_unacked()
        return len(found)

    def mark_overdue(self, ids: Iterable[int]) -> None:
        """Record that a process was killed for these deliveries, so that the next consumer gets them as overdue."""
        with self.link.lock:
            for id in ids:
                self.poison_records.expire(digest_of(id))

    def pending(self, queue: str, limit: int = 1000) -> list[bytes]:
        """List the first waiting messages.

        RabbitMQ shows a message only by delivering it. So this takes the messages, and puts them back in their places.
        Meanwhile no worker gets them, and afterwards they count as delivered before.
        """
        with self.browse(queue, limit) as messages:
            return [message.body for message in messages]

    def delayed(self, limit: int = 1000) -> list[DelayedMessage]:
        """List the messages in the one queue for delayed messages, which the settings must name.

        Raises:
            GearmeshError: the settings name none. Each duration has a queue then, and AMQP cannot list queues.
        """
        queue = self.topology.config.delayed_queue
        if not queue:
            raise GearmeshError(
                "RabbitMQ cannot list delayed messages: they pass through several queues (gearmesh:delay:<ms>), which "
                "'rabbitmqctl list_queues' counts; with the setting amqp.delayed_queue they wait in one queue"
            )
        with self.browse(queue, 1 << 30) as messages:
            found = [DelayedMessage(message.body, _eta(message.body)) for message in messages]
        return sorted(found, key=lambda each: each.eta_ns)[:limit]

    def dead_letters(self, queue: str, limit: int = 1000) -> list[DeadLetter]:
        with self.browse(amqp_dead(queue), 1 << 30) as messages:
            return list(self._letters(queue, messages).values())[:limit]

    def take_dead(self, queue: str, ids: Sequence[str], *, retry: bool) -> int:
        """Put retried messages into their queue before they leave the dead letters: one may come twice, and none is
        lost."""
        wanted = set(ids)
        with self._take(amqp_dead(queue), 1 << 30) as look:
            taken = [message for message in look.taken if _id(message.body) in wanted]
            bodies = {_id(message.body): message for message in taken}
            if retry and bodies:
                self.link.declarer.ensure(self.topology.source(queue))
                self.link.publisher.publish([_anew(queue, message) for message in bodies.values()])
            for message in taken:
                message.channel.basic_ack(message.delivery_tag)
            return len(bodies)

    def queues(self) -> list[str]:
        raise GearmeshError(
            "RabbitMQ does not list its queues over AMQP: name them ('rabbitmqctl list_queues')"
        )

    def count(self, queue: str) -> QueueCounts:
        """Count the waiting messages and dead letters; RabbitMQ does not count unacked and parked ones."""
        with self.link.lock:
            declarer = self.link.declarer
            pending, consumers = declarer.look(queue) or (0, 0)
            dead = self._count_dead(queue)
        return QueueCounts(queue=queue, pending=pending, dead=dead, consumers=consumers)

    def _count_dead(self, queue: str) -> int:
        """Count the dead letters. RabbitMQ logs an error each time that it is asked for a missing queue."""
        if time.monotonic() < self._without_dead.get(queue, 0.0):
            return 0
        count = self.link.declarer.count(amqp_dead(queue))
        if count is None:
            self._without_dead[queue] = time.monotonic() + self._missing_ttl_s
        return count or 0

    def parked(self, queue: str, limit: int) -> list[ParkedMessage]:
        """List parked messages as :class:`gearmesh.interfaces.transport.SupportsParkedListing` says, but without those
        that have returned to the queue.

        Each pause has a queue of its own, and RabbitMQ does not show since when a message waits there.
        """
        found: list[ParkedMessage] = []
        with self.link.lock:
            declarer = self.link.declarer
            for ms, name in self.topology.parking(queue):
                if len(found) == limit or not declarer.count(name):
                    continue
                # All of them, whatever the limit: a quorum queue puts messages back behind those of an earlier look.
                with self.browse(name, RETURNED_IN_ORDER * MAX_CHANNELS) as messages:
                    until = time.time() + ms / 1000
                    found += [
                        ParkedMessage(message.body, until, _first_met(message), latest=True)
                        for message in messages[: limit - len(found)]
                    ]
        return found

    def purge(self, queue: str, gone: DeletedCallback | None = None) -> int:
        with self.link.lock:
            declarer = self.link.declarer
            names = (queue, *(name for _, name in self.topology.parking(queue)))
            there = {name: count for name in names if (count := declarer.count(name)) is not None}
            if gone is None:
                return sum(int(declarer.channel.queue_purge(name)) for name in there)
            return sum(self._take_all(name, count, gone) for name, count in there.items())

    def _take_all(self, queue: str, count: int, gone: DeletedCallback) -> int:
        """Delete the first ``count`` messages of a queue; return their number."""
        taken = 0
        while taken < count:
            with self._take(queue, min(PURGE_BATCH_MESSAGES, count - taken)) as look:
                if not look.taken:
                    break
                for message in look.taken:
                    message.channel.basic_ack(message.delivery_tag)
                bodies = [message.body for message in look.taken]
            taken += len(bodies)
            gone(bodies)
        return taken

    def purge_delayed(self, queue: str, gone: DeletedCallback | None = None) -> int:
        """Delete the messages for ``queue`` from the one queue for delayed messages, which the settings must name.

        Raises:
            GearmeshError: the settings name none.
        """
        if not self.topology.config.delayed_queue:
            raise GearmeshError(
                f"RabbitMQ cannot find the delayed messages for {queue!r}: they wait in queues that all queues share "
                "(gearmesh:delay:<ms>)"
            )
        bodies = []
        with self._take(self.topology.config.delayed_queue, 1 << 30) as look:
            for message in look.taken:
                if _leads_to(message.body, self.topology) == queue:
                    message.channel.basic_ack(message.delivery_tag)
                    bodies.append(message.body)
        if gone is not None:
            gone(bodies)
        return len(bodies)

    def reserve(self, requests: Sequence[RateRequest]) -> list[int]:
        """Reserve in this process alone: RabbitMQ has no counter that several processes could share."""
        return [self.rates.reserve(request) for request in requests]

    @contextmanager
    def browse(self, queue: str, limit: int) -> Iterator[list[Any]]:
        """Take the first messages of a queue for the length of a block, with their bodies as bytes.

        Afterwards they go back to their places. The block must acknowledge none of them.
        """
        with self._take(queue, limit) as look:
            yield look.taken
            look.put_back(lambda: self.link.declarer.look(queue) or (0, 0))

    @contextmanager
    def _take(self, queue: str, limit: int) -> Iterator[Look]:
        """Take the first messages of a queue; those that the block does not acknowledge go back."""
        with self.link.lock:
            self._barrier()  # so that messages published here without a confirm have arrived
            look = Look(queue, self.link.open_channel, min(MAX_CHANNELS, self.link.channel_max // 2))
            try:
                if self.link.declarer.count(queue):
                    # There may be more: the count leaves out messages that are being put back.
                    for message in islice(look, limit):
                        message.body = body_of(message)
                    if not look.taken and queue.startswith(PREFIX):
                        _pass_on_expired(look.channels[-1], queue)
                yield look
            finally:
                look.close()

    def _letters(self, queue: str, messages: Sequence[Any]) -> dict[bytes, DeadLetter]:
        """Make one letter of messages with equal bytes; the longest dead comes first."""
        letters: dict[bytes, DeadLetter] = {}
        for message in messages:
            body = message.body
            headers = message.properties.get("application_headers") or {}
            died = float(headers.get(DEAD_AT_HEADER) or 0) / 1000
            old = letters.pop(body, None)
            letters[body] = DeadLetter(
                queue=queue,
                body=body,
                reason=str(headers.get(DEAD_REASON_HEADER) or ""),
                count=1 + (old.count if old else 0),
                first=old.first if old else died,
                last=died,
            )
        return letters


def _pass_on_expired(channel: Any, queue: str) -> None:
    """Let one of gearmesh's queues pass on the messages that expired before a look could take them.

    A quorum queue that dead-letters at least once does not do so if ``basic.get`` finds that all its messages have just
    expired: they stay until the next command to the queue (RabbitMQ 3.10; 4.x has the same code). A consumer is such a
    command. If it gets a message, that returns when the channel is closed. On another program's queue a consumer may do
    harm: when it ends, RabbitMQ deletes an auto-delete queue.
    """
    channel.arrived = _ignore_delivery  # the connection calls it
    channel.basic_qos(0, 1, False)
    channel.basic_consume(queue)


def _ignore_delivery(*delivery: Any) -> None:
    """Leave a delivery unacknowledged."""


def _held(consumer: str, queues: Iterable[str]) -> list[Unacked]:
    wanted = set(queues)
    held = list(UNACKED_BY_CONSUMER.get(consumer).held.values())
    return [each for each in held if each.delivery.queue in wanted]


def _anew(queue: str, message: Any) -> OutgoingMessage:
    """Make the message that runs a dead letter again, without the headers of its earlier deliveries."""
    headers = message.properties.get("application_headers") or {}
    kept = {name: value for name, value in headers.items() if name not in _HISTORY_HEADERS}
    return OutgoingMessage("", queue, message.body, kept, message.properties.get("priority") or 0)


def _id(body: bytes) -> str:
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()


def _eta(body: bytes) -> int:
    """Return the ETA of a delayed message in unix ns; 0: it has none."""
    try:
        sig = decode(body)
    except RemoteProtocolError:
        return 0
    return parse(sig.ETA) if sig.ETA is not None else 0


def _leads_to(body: bytes, topology: Topology) -> str:
    """Return the queue to which a delayed message will go."""
    try:
        return topology.target(decode(body).RoutingKey or topology.default_queue).name
    except RemoteProtocolError:
        return topology.default_queue


def _first_met(message: Any) -> float | None:
    """Return the unix seconds at which a worker without its task first got a message; None: it waits for another
    reason."""
    met = first_met(message.properties.get("application_headers") or {})
    return None if met is None else met[0] / 1000
