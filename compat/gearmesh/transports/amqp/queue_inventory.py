"""How many messages are where, and how to be rid of them."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from gearmesh.errors import GearmeshError, RemoteProtocolError
from gearmesh.interfaces.transport import DeletedCallback, ParkedMessage, QueueCounts
from gearmesh.transports.amqp.commit_engine import first_met
from gearmesh.wire.codec import decode
from gearmesh.wire.names import amqp_dead

if TYPE_CHECKING:
    from gearmesh.transports.amqp.connection import AMQPConnection
    from gearmesh.transports.amqp.topology import Topology

__all__ = ["QueueInventory"]

#: Messages that are taken at a time where they are to be read before they are gone.
PURGE_BATCH_MESSAGES: Final = 256
#: Seconds to wait at most until a quorum queue has back what was shown of it.
MAX_RETURN_S: Final = 0.5


class QueueInventory:
    """A part of :class:`~.channel.Channel`; see :class:`gearmesh.interfaces.transport.SupportsInspection` for what
    each does."""

    link: AMQPConnection
    topology: Topology

    def browse(self, queue: str, limit: int) -> AbstractContextManager[list[Any]]:
        """The first messages of a queue, taken for the moment. What is not acknowledged inside goes back."""
        raise NotImplementedError

    def queues(self) -> list[str]:
        raise GearmeshError(
            "RabbitMQ does not list its queues over AMQP: name them ('rabbitmqctl list_queues')"
        )

    def count(self, queue: str) -> QueueCounts:
        """What is held, and what is parked in one of many queues, is not told."""
        with self.link.lock:
            declarer = self.link.declarer(self.topology)
            pending, consumers = declarer.look(queue) or (0, 0)
            dead = declarer.count(amqp_dead(queue)) or 0
        return QueueCounts(queue=queue, pending=pending, dead=dead, consumers=consumers)

    def parked(self, queue: str, limit: int) -> list[ParkedMessage]:
        """As :class:`gearmesh.interfaces.transport.SupportsParkedListing` says, without messages that have returned to
        the queue.

        A message waits in a queue for its pause, and RabbitMQ does not tell since when.
        """
        found: list[ParkedMessage] = []
        with self.link.lock:
            declarer = self.link.declarer(self.topology)
            for ms, name in self.topology.parking(queue):
                if len(found) == limit or not declarer.count(name):
                    continue
                with self.browse(name, limit - len(found)) as messages:
                    until = time.time() + ms / 1000
                    found += [
                        ParkedMessage(message.body, until, _first_met(message), latest=True)
                        for message in messages
                    ]
                self._await_return(name, len(messages))
        return found

    def _await_return(self, queue: str, count: int) -> None:
        """A quorum queue takes back its messages a moment after RabbitMQ has closed the channel that had them."""
        deadline = time.monotonic() + MAX_RETURN_S
        declarer = self.link.declarer(self.topology)
        while (declarer.count(queue) or 0) < count and time.monotonic() < deadline:
            time.sleep(0.005)

    def purge(self, queue: str, gone: DeletedCallback | None = None) -> int:
        with self.link.lock:
            declarer = self.link.declarer(self.topology)
            names = (queue, *(name for _, name in self.topology.parking(queue)))
            there = {name: count for name in names if (count := declarer.count(name)) is not None}
            if gone is None:
                return sum(int(declarer.channel.queue_purge(name)) for name in there)
            return sum(self._take_all(name, count, gone) for name, count in there.items())

    def _take_all(self, queue: str, count: int, gone: DeletedCallback) -> int:
        """Delete the first ``count`` messages of a queue; how many there were."""
        taken = 0
        while taken < count:
            with self.browse(queue, min(PURGE_BATCH_MESSAGES, count - taken)) as messages:
                if not messages:
                    break
                last = messages[-1]
                last.channel.basic_ack(last.delivery_tag, multiple=True)
                bodies = [message.body for message in messages]
            taken += len(bodies)
            gone(bodies)
        return taken

    def purge_delayed(self, queue: str, gone: DeletedCallback | None = None) -> int:
        """Of the one queue for delayed messages, if the settings name one. Else nobody can say where they are.

        Raises:
            GearmeshError: the settings name none.
        """
        if not self.topology.config.delayed_queue:
            raise GearmeshError(
                f"RabbitMQ can't tell what is delayed for {queue!r}: it waits in queues for all (gearmesh:delay:<ms>)"
            )
        bodies = []
        with self.browse(self.topology.config.delayed_queue, 1 << 30) as messages:
            for message in messages:
                if _leads_to(message.body, self.topology) == queue:
                    message.channel.basic_ack(message.delivery_tag)
                    bodies.append(message.body)
        if gone is not None:
            gone(bodies)
        return len(bodies)


def _leads_to(body: bytes, topology: Topology) -> str:
    """The queue that a delayed message will be in."""
    try:
        return topology.target(decode(body).RoutingKey or topology.default_queue).name
    except RemoteProtocolError:
        return topology.default_queue


def _first_met(message: Any) -> float | None:
    """Unix seconds at which a worker without its task first got this message; None: it waits for another reason."""
    met = first_met(message.properties.get("application_headers") or {})
    return None if met is None else met[0] / 1000
