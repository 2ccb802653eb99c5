"""Declares queues once, on a channel where an error harms nobody."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

from amqp import spec
from amqp.exceptions import AccessRefused, ChannelError, NotFound, PreconditionFailed, ResourceLocked
from amqp.serialization import dumps

from gearmesh.errors import ConfigError
from gearmesh.transports.amqp.frames import table

if TYPE_CHECKING:
    from gearmesh.transports.amqp.connection import AMQPConnection
    from gearmesh.transports.amqp.frames import QueueDeclaration
    from gearmesh.transports.amqp.topology import Topology

__all__ = ["MAX_DECLARATION_AGE_S", "Declarer"]

#: Seconds after which a queue is not taken to be there any more by who sends something that gets there later.
MAX_DECLARATION_AGE_S: Final = 1.0
#: A queue that expires is declared anew once this part of its time is over.
_REDECLARE_SHARE: Final = 0.25


class Declarer:
    """What one connection has declared. Used under its link's lock."""

    def __init__(self, link: AMQPConnection, topology: Topology) -> None:
        self._link = link
        self._topology = topology
        self._channel: Any = None
        self._exchange = False
        #: queue -> when its last declaration was sent, by the monotonic clock, and how many seconds it lives unused
        self._done: dict[tuple[str, str], tuple[float, float]] = {}

    @property
    def channel(self) -> Any:
        """A channel for questions and declarations; py-amqp opens it again when RabbitMQ closes it."""
        if self._channel is None:
            self._channel = self._link.open_channel()
        return self._channel

    def ensure(self, queue: QueueDeclaration, within: float = math.inf) -> None:
        """Declare and bind the queue unless that was done before, in the last ``within`` seconds.

        Raises:
            ConfigError: it is there with other arguments, or this user may not declare it.
        """
        known = (queue.name, queue.binding_key)
        now = time.monotonic()
        sent, lives = self._done.get(known, (0.0, 0.0))
        if now < sent + min(lives * _REDECLARE_SHARE, within):
            return
        if sent and within < math.inf:
            self._exchange = False  # whoever deletes queues may have deleted that, too
        try:
            self._ensure(queue)
        except (PreconditionFailed, AccessRefused, ResourceLocked) as exc:
            raise ConfigError(
                f"queue {queue.name!r} can't be declared as the settings want it: {exc}"
            ) from exc
        self._done[known] = now, queue.arguments.get("x-expires", float("inf")) / 1000
        if len(self._done) > 10_000:  # names with durations in them
            self._done = {
                known: (sent, lives) for known, (sent, lives) in self._done.items() if now < sent + lives
            }

    def lasts(self, queue: QueueDeclaration) -> bool:
        """True if all that has come into the queue since it was ensured leaves it before it expires.

        Go: its delay queues live twice as long as a message waits. What comes later than that wait after the
        declaration goes with the queue, unless that is declared again in time.
        """
        sent, lives = self._done.get((queue.name, queue.binding_key), (0.0, 0.0))
        if time.monotonic() < sent + lives - queue.arguments.get("x-message-ttl", 0) / 1000:
            return True
        self.forget(queue.name)
        self.ensure(queue)
        return time.monotonic() < sent + lives

    def forget(self, name: str) -> None:
        """The queue, or its binding, may be gone."""
        self._done = {known: done for known, done in self._done.items() if known[0] != name}
        self._exchange = False

    def count(self, name: str) -> int | None:
        """How many messages wait in a queue; None: there is no such queue."""
        found = self.look(name)
        return None if found is None else found[0]

    def look(self, name: str) -> tuple[int, int] | None:
        """How many messages wait in a queue, and how many consumers it has; None: there is no such queue."""
        try:
            return self._declare(name, {}, passive=True)
        except NotFound:
            return None
        except ResourceLocked:  # somebody's exclusive queue
            return None

    def delete(self, name: str) -> None:
        """Delete a queue, if it is there."""
        self.channel.queue_delete(name)

    def _ensure(self, queue: QueueDeclaration) -> None:
        config = self._topology.config
        if queue.binding_key and not self._exchange:
            self.channel.exchange_declare(
                config.exchange, config.exchange_type, durable=True, auto_delete=False
            )
            self._exchange = True
        self._declare(queue.name, queue.arguments, auto_delete=queue.auto_delete)
        if queue.binding_key:
            self._bind(queue)

    def _declare(
        self, name: str, arguments: Any, *, passive: bool = False, auto_delete: bool = False
    ) -> tuple[int, int]:
        # py-amqp chooses the types of integers by their size; here the types are part of what is declared.
        args = dumps("Bsbbbbb", (0, name, passive, True, False, auto_delete, False)) + table(arguments)
        _, messages, consumers = self._call(spec.Queue.Declare, args, spec.Queue.DeclareOk)
        return int(messages), int(consumers)

    def _bind(self, queue: QueueDeclaration) -> None:
        args = dumps("Bsssb", (0, queue.name, self._topology.config.exchange, queue.binding_key, False))
        self._call(spec.Queue.Bind, args + table(queue.binding_arguments), spec.Queue.BindOk)

    def _call(self, method: Any, args: bytes, answer: Any) -> Any:
        channel = self.channel
        channel.connection.frame_writer(1, channel.channel_id, method, args, None)
        return channel.wait(answer, returns_tuple=True)


#: What a channel may be closed with, by what was asked on it.
CHANNEL_ERRORS: Final = (ChannelError,)
