"""Declares queues once, on a channel where an error harms nobody."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from amqp import spec
from amqp.exceptions import AccessRefused, ChannelError, NotFound, PreconditionFailed, ResourceLocked
from amqp.serialization import dumps

from gearmesh.errors import ConfigError
from gearmesh.transports.amqp.frames import table
from gearmesh.transports.amqp.topology import REPUBLISHES_WITH_CONFIRMS
from gearmesh.wire.names import AMQP_DUE

if TYPE_CHECKING:
    from gearmesh.transports.amqp.connection import AMQPConnection
    from gearmesh.transports.amqp.frames import QueueDeclaration
    from gearmesh.transports.amqp.topology import Topology

__all__ = ["Declarer"]

log = logging.getLogger("gearmesh.amqp")

#: A queue that expires is declared anew once this part of its time is over.
_REDECLARE_SHARE: Final = 0.25
#: What RabbitMQ closes a channel with that asks for a queue which it does not allow, or has otherwise.
_REFUSALS: Final = (PreconditionFailed, AccessRefused, ResourceLocked)


class Declarer:
    """What one connection has declared. Used under its link's lock."""

    def __init__(self, link: AMQPConnection, topology: Topology) -> None:
        self._link = link
        self._topology = topology
        self._channel: Any = None
        self._exchange = False
        #: the delay queues are there
        self._delay_queues = False
        self._told = False
        #: queue -> when its last declaration was sent, by the monotonic clock, and how many seconds it lives unused
        self._done: dict[tuple[str, str], tuple[float, float]] = {}

    @property
    def channel(self) -> Any:
        """A channel for questions and declarations; py-amqp opens it again when RabbitMQ closes it."""
        if self._channel is None:
            self._channel = self._link.open_channel()
        return self._channel

    def ensure(self, queue: QueueDeclaration) -> None:
        """Declare and bind the queue unless that was done before.

        Raises:
            ConfigError: it is there with other arguments, or this user may not declare it.
        """
        known = (queue.name, queue.binding_key)
        now = time.monotonic()
        sent, lives = self._done.get(known, (0.0, 0.0))
        if now < sent + lives * _REDECLARE_SHARE:
            return
        try:
            try:
                self._ensure(queue)
            except _REFUSALS as exc:
                if not _republishes_with_confirms(queue):
                    raise
                self._ensure(queue, plain=True)
                self._tell(exc)
        except _REFUSALS as exc:
            raise ConfigError(
                f"queue {queue.name!r} can't be declared as the settings want it: {exc}"
            ) from exc
        self._done[known] = now, queue.arguments.get("x-expires", float("inf")) / 1000

    def forget(self, name: str) -> None:
        """The queue, or its binding, may be gone."""
        self._done = {known: done for known, done in self._done.items() if known[0] != name}
        self._exchange = self._delay_queues = False

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

    def _ensure(self, queue: QueueDeclaration, *, plain: bool = False) -> None:
        config = self._topology.config
        if queue.exchange and not self._delay_queues:
            self._declare_delay_queues(plain=plain)
        elif queue.binding_key and not queue.exchange and not self._exchange:
            self.channel.exchange_declare(
                config.exchange, config.exchange_type, durable=True, auto_delete=False
            )
            self._exchange = True
        arguments = _plain(queue.arguments) if plain else queue.arguments
        self._declare(queue.name, arguments, auto_delete=queue.auto_delete)
        if queue.binding_key:
            self._bind(queue)
        self._delay_queues = self._delay_queues or bool(queue.exchange)

    def _declare_delay_queues(self, *, plain: bool) -> None:
        """Declare all without waiting for an answer. The answer to what is asked next says if RabbitMQ refused one.

        A queue that is missing would cost no message, but the time that messages should spend there.
        """
        exchange_declare = partial(
            self.channel.exchange_declare, type="direct", durable=True, auto_delete=False, nowait=True
        )
        exchange_declare(AMQP_DUE)
        for rung in self._topology.rungs():
            below = rung.arguments["x-dead-letter-exchange"]
            exchange_declare(rung.exchange, arguments={"alternate-exchange": below})
            self._declare(rung.name, _plain(rung.arguments) if plain else rung.arguments, nowait=True)
            self._bind(rung, nowait=True)

    def _tell(self, exc: Exception) -> None:
        if not self._told:
            self._told = True
            log.error(
                "RabbitMQ refuses the quorum queues in which messages wait for their time, so it gets classic ones: "
                "killed as a delay ends, it may lose the message: %s",
                exc,
            )

    def _declare(
        self,
        name: str,
        arguments: Any,
        *,
        passive: bool = False,
        auto_delete: bool = False,
        nowait: bool = False,
    ) -> tuple[int, int]:
        # py-amqp chooses the types of integers by their size; here the types are part of what is declared.
        args = dumps("Bsbbbbb", (0, name, passive, True, False, auto_delete, nowait)) + table(arguments)
        if nowait:
            self._send(spec.Queue.Declare, args)
            return 0, 0
        _, messages, consumers = self._call(spec.Queue.Declare, args, spec.Queue.DeclareOk)
        return int(messages), int(consumers)

    def _bind(self, queue: QueueDeclaration, *, nowait: bool = False) -> None:
        exchange = queue.exchange or self._topology.config.exchange
        args = dumps("Bsssb", (0, queue.name, exchange, queue.binding_key, nowait))
        args += table(queue.binding_arguments)
        if nowait:
            self._send(spec.Queue.Bind, args)
        else:
            self._call(spec.Queue.Bind, args, spec.Queue.BindOk)

    def _send(self, method: Any, args: bytes) -> None:
        channel = self.channel
        channel.connection.frame_writer(1, channel.channel_id, method, args, None)

    def _call(self, method: Any, args: bytes, answer: Any) -> Any:
        self._send(method, args)
        return self.channel.wait(answer, returns_tuple=True)


def _republishes_with_confirms(queue: QueueDeclaration) -> bool:
    return REPUBLISHES_WITH_CONFIRMS.items() <= queue.arguments.items()


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a classic queue."""
    kept = {name: value for name, value in arguments.items() if name not in REPUBLISHES_WITH_CONFIRMS}
    return {"x-queue-type": "classic", **kept}


#: What a channel may be closed with, by what was asked on it.
CHANNEL_ERRORS: Final = (ChannelError,)
