"""Messages that ran when a process died, across processes that share nothing but RabbitMQ.

Queues keep the books: ``gearmesh:suspect:<checksum>`` exists once such a message was lost, and the number of messages
in ``gearmesh:deaths:<checksum>`` says how bad that was. None: it was lost, and perhaps not through its own fault. One:
it is isolated (crash count zero). Each four more: it brought a process down while it ran alone, for certain; each one
more: perhaps.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from gearmesh.transports.amqp.frames import OutgoingMessage, QueueDeclaration
from gearmesh.transports.amqp.unacked import Unacked, digest_of
from gearmesh.wire.names import amqp_deaths, amqp_overdue, amqp_suspect

if TYPE_CHECKING:
    from gearmesh.transports.amqp.channel import Channel

__all__ = ["PoisonRecords"]

#: Seconds a redelivered message waits before it is looked up: RabbitMQ is quicker than the supervisor of who died.
LOOKUP_DELAY_S: Final = 0.05
#: Milliseconds for which a record of crashes is kept.
RECORD_TTL_MS: Final = 86_400_000


class PoisonRecords:
    """What one channel knows and notes down of suspects."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._doubtful: dict[int, Unacked] = {}
        self._due = float("inf")

    def doubt(self, held: Unacked) -> None:
        """This one was delivered before: it is looked up before it is handed out."""
        if not self._doubtful:
            self._due = time.monotonic() + LOOKUP_DELAY_S
        self._doubtful[held.delivery.id] = held

    def doubtful(self, held: Unacked) -> bool:
        """It was not looked up yet."""
        return held.delivery.id in self._doubtful

    def due(self) -> float:
        """When :meth:`settle` has something to do, by the monotonic clock."""
        return self._due

    def settle(self, now: float) -> None:
        """Look up those whose time has come."""
        if now < self._due:
            return
        self._due = float("inf")
        channel = self._channel
        held = [each for each in self._doubtful.values() if each.delivery.id in channel.ledger.held]
        self._doubtful.clear()
        if not held:
            return
        digests = [digest_of(each.delivery.id) for each in held]
        names = [*map(amqp_suspect, digests), *map(amqp_overdue, digests)]
        there = channel.link.sender(channel.topology).probe(names)
        declarer = channel.link.declarer(channel.topology)
        for each, digest, lost, overdue in zip(held, digests, there, there[len(held) :], strict=False):
            each.recorded = lost or overdue
            count = declarer.count(amqp_deaths(digest)) if lost else None
            crash_count = (count - 1) / 4 if count else None
            if count or overdue:
                each.delivery = msgspec.structs.replace(
                    each.delivery, crash_count=crash_count, overdue=overdue
                )
                channel.ledger.open[each.delivery.id] = each.delivery

    def expire(self, digest: int) -> None:
        """A process was killed since the message with this checksum ran into its hard limit."""
        channel = self._channel
        queue = QueueDeclaration(amqp_overdue(digest), {"x-expires": RECORD_TTL_MS})
        channel.link.declarer(channel.topology).ensure(queue)

    def note(self, digest: int, *, alone: bool, certain: bool) -> None:
        """A process died while it ran the message with this checksum."""
        channel = self._channel
        name = amqp_deaths(digest)
        declarer = channel.link.declarer(channel.topology)
        before = declarer.count(name)
        for queue in (name, amqp_suspect(digest)):
            declarer.ensure(QueueDeclaration(queue, {"x-expires": RECORD_TTL_MS}))
        more = 0
        if not before and (certain or before is not None):
            more = 1
        if alone and (more or before):
            more += 4 if certain else 1
        batch = [OutgoingMessage("", name, b"", content_type="text/plain") for _ in range(more)]
        if batch:
            channel.link.sender(channel.topology).publish(batch)

    def clear(self, held: Unacked) -> None:
        """It is done: nothing is held against it any more."""
        channel = self._channel
        declarer = channel.link.declarer(channel.topology)
        digest = digest_of(held.delivery.id)
        for name in (amqp_suspect(digest), amqp_deaths(digest), amqp_overdue(digest)):
            declarer.delete(name)
            declarer.forget(name)
