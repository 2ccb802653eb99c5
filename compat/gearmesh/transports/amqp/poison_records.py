"""Messages that ran when a process died, across processes that share nothing but RabbitMQ.

RabbitMQ keeps the records as queues. ``gearmesh:suspect:<checksum>`` exists once such a message was lost. The number of
messages in ``gearmesh:deaths:<checksum>`` says how often it has brought a process down:

- 0: the message was lost, and perhaps did not cause that.
- 1: the message is isolated, with crash count zero.
- 4 more for each process that it has certainly brought down while it ran alone, and 1 more for each that it may have.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from gearmesh.transports.amqp.frames import OutgoingMessage, QueueDeclaration
from gearmesh.transports.amqp.unacked import AMQPUnackedDeliveries, Unacked, digest_of
from gearmesh.wire.names import amqp_deaths, amqp_overdue, amqp_suspect

if TYPE_CHECKING:
    from gearmesh.transports.amqp.connection import AMQPConnection

__all__ = ["PoisonRecords"]

#: Seconds that a redelivered message waits before its record is read: RabbitMQ is quicker than the supervisor of the
#: dead process, which writes the record.
LOOKUP_DELAY_S: Final = 0.05
#: Milliseconds for which a record of crashes is kept.
RECORD_TTL_MS: Final = 86_400_000


class PoisonRecords:
    """Reads and writes the records of messages that ran when a process died.

    Args:
        link: the connection that the records are read and written through.
        unacked: the deliveries whose records are read.
    """

    def __init__(self, link: AMQPConnection, unacked: AMQPUnackedDeliveries) -> None:
        self._link = link
        self._unacked = unacked
        self._doubtful: dict[int, Unacked] = {}
        self._due = float("inf")

    def doubt(self, held: Unacked) -> None:
        """Note a redelivered message: its record is read before a consumer gets it."""
        if not self._doubtful:
            self._due = time.monotonic() + LOOKUP_DELAY_S
        self._doubtful[held.delivery.id] = held

    def doubtful(self, held: Unacked) -> bool:
        """Say whether the record of a redelivered message is still to be read."""
        return held.delivery.id in self._doubtful

    def due(self) -> float:
        """Return the moment, by the monotonic clock, at which :meth:`settle` has something to do."""
        return self._due

    def settle(self, now: float) -> None:
        """Read the records of the messages that have waited long enough."""
        if now < self._due:
            return
        self._due = float("inf")
        held = [each for each in self._doubtful.values() if each.delivery.id in self._unacked.held]
        self._doubtful.clear()
        if not held:
            return
        digests = [digest_of(each.delivery.id) for each in held]
        names = [*map(amqp_suspect, digests), *map(amqp_overdue, digests)]
        there = self._link.publisher.probe(names)
        declarer = self._link.declarer
        for each, digest, lost, overdue in zip(held, digests, there, there[len(held) :], strict=False):
            each.recorded = lost or overdue
            count = declarer.count(amqp_deaths(digest)) if lost else None
            crash_count = (count - 1) / 4 if count else None
            if count or overdue:
                each.delivery = msgspec.structs.replace(
                    each.delivery, crash_count=crash_count, overdue=overdue
                )
                self._unacked.open[each.delivery.id] = each.delivery

    def expire(self, digest: int) -> None:
        """Record that a process was killed because the message with this checksum ran into its hard limit."""
        self._declare(amqp_overdue(digest))

    def note(self, digest: int, *, alone: bool, certain: bool) -> None:
        """Record that a process died while it ran the message with this checksum."""
        name = amqp_deaths(digest)
        before = self._link.declarer.count(name)
        self._declare(name)
        self._declare(amqp_suspect(digest))
        more = 0
        if not before and (certain or before is not None):
            more = 1
        if alone and (more or before):
            more += 4 if certain else 1
        batch = [OutgoingMessage("", name, b"", content_type="text/plain") for _ in range(more)]
        if batch:
            self._link.publisher.publish(batch)

    def clear(self, held: Unacked) -> None:
        """Delete the records of a message that is settled."""
        digest = digest_of(held.delivery.id)
        for name in (amqp_suspect(digest), amqp_deaths(digest), amqp_overdue(digest)):
            self._link.declarer.channel.queue_delete(name)

    def _declare(self, name: str) -> None:
        # Declare it even if this connection has done so before: another worker may have deleted it.
        self._link.declarer.redeclare(QueueDeclaration(name, {"x-expires": RECORD_TTL_MS}))
