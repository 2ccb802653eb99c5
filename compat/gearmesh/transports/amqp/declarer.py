"""The declarer declares each queue once per connection, on a channel of its own, where an error closes nothing else."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from amqp import spec
from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed, ResourceLocked
from amqp.serialization import dumps

from gearmesh.errors import ConfigError
from gearmesh.transports.amqp.frames import table
from gearmesh.transports.amqp.topology import REPUBLISHES_WITH_CONFIRMS
from gearmesh.wire.names import AMQP_DUE

if TYPE_CHECKING:
    from gearmesh.transports.amqp.frames import QueueDeclaration
    from gearmesh.transports.amqp.protocols import ConnectionPort
    from gearmesh.transports.amqp.topology import Topology

__all__ = ["Declarer"]

log = logging.getLogger("gearmesh.amqp")

#: Errors by which RabbitMQ refuses a declaration that it does not allow, or that differs from the existing queue.
_REFUSALS: Final = (PreconditionFailed, AccessRefused, ResourceLocked)


class Declarer:
    """Declares queues and bindings once a connection, on a channel of its own. Used under the connection's lock."""

    def __init__(self, link: ConnectionPort, topology: Topology) -> None:
        self._link = link
        self._topology = topology
        self._channel: Any = None
        self._exchange = False
        #: True once all delay queues were declared
        self._delay_queues = False
        self._refusal_logged = False
        #: names and binding keys of the queues that were declared
        self._done: set[tuple[str, str]] = set()

    @property
    def channel(self) -> Any:
        """The declarer's channel, which py-amqp opens again when RabbitMQ closes it."""
        if self._channel is None:
            self._channel = self._link.open_channel()
        return self._channel

    def ensure(self, queue: QueueDeclaration) -> None:
        """Declare and bind the queue unless that was done before.

        Where RabbitMQ refuses a quorum queue for delayed or parked messages, a classic one takes its place.

        Raises:
            ConfigError: the queue exists with other arguments, or this user may not declare it.
        """
        known = (queue.name, queue.binding_key)
        if known in self._done:
            return
        try:
            try:
                self._ensure(queue)
            except _REFUSALS as exc:
                if not REPUBLISHES_WITH_CONFIRMS.items() <= queue.arguments.items():
                    raise
                self._ensure(queue, classic=True)
                self._log_refusal(exc)
        except _REFUSALS as exc:
            raise ConfigError(
                f"queue {queue.name!r} can't be declared as the settings want it: {exc}{self._advice(queue, exc)}"
            ) from exc
        self._done.add(known)

    def forget(self, name: str) -> None:
        """Declare the queue, its binding and its exchange again when they are needed next."""
        self._done = {known for known in self._done if known[0] != name}
        self._exchange = self._delay_queues = False

    def redeclare(self, queue: QueueDeclaration) -> None:
        """Declare a queue that may have been deleted, or have expired, and the one to which its messages return."""
        for each in filter(None, (queue, self._topology.after(queue))):
            self.forget(each.name)
            self.ensure(each)

    def count(self, name: str) -> int | None:
        """Count the messages that wait in a queue; None: it does not exist."""
        found = self.look(name)
        return None if found is None else found[0]

    def look(self, name: str) -> tuple[int, int] | None:
        """Count the messages that wait in a queue, and its consumers; None: it does not exist."""
        try:
            return self._declare(name, {}, passive=True)
        except (NotFound, ResourceLocked):  # locked: another connection's exclusive queue
            return None

    def _advice(self, queue: QueueDeclaration, exc: Exception) -> str:
        config = self._topology.config
        if "inequivalent arg 'x-" not in str(exc) or queue.arguments is not config.queue_declare_args:
            return ""
        return (
            f"; amqp.queue_declare_args is {dict(config.queue_declare_args)}, expected the arguments of the queue, "
            "which must be the same in all programs"
        )

    def _ensure(self, queue: QueueDeclaration, *, classic: bool = False) -> None:
        config = self._topology.config
        if queue.exchange and not self._delay_queues:
            self._declare_delay_queues(classic=classic)
        elif queue.binding_key and not queue.exchange and not self._exchange:
            self.channel.exchange_declare(
                config.exchange, config.exchange_type, durable=True, auto_delete=False
            )
            self._exchange = True
        arguments = _as_classic(queue.arguments) if classic else queue.arguments
        self._declare(queue.name, arguments, auto_delete=queue.auto_delete)
        if queue.binding_key:
            self._bind(queue)
        self._delay_queues = self._delay_queues or bool(queue.exchange)

    def _declare_delay_queues(self, *, classic: bool) -> None:
        """Declare all delay queues without waiting for answers: RabbitMQ reports a refusal at the next declaration.

        All of them must exist. A message skips a missing queue, and comes too early.
        """
        exchange_declare = partial(
            self.channel.exchange_declare, type="direct", durable=True, auto_delete=False, nowait=True
        )
        exchange_declare(AMQP_DUE)
        for rung in self._topology.rungs():
            below = rung.arguments["x-dead-letter-exchange"]
            exchange_declare(rung.exchange, arguments={"alternate-exchange": below})
            self._declare(rung.name, _as_classic(rung.arguments) if classic else rung.arguments, nowait=True)
            self._bind(rung, nowait=True)

    def _log_refusal(self, exc: Exception) -> None:
        if not self._refusal_logged:
            self._refusal_logged = True
            log.error(
                "RabbitMQ refuses quorum queues for delayed and parked messages, so gearmesh declares classic ones: "
                "if RabbitMQ is killed as a delay ends, it may lose the message: %s",
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
        # py-amqp chooses the types of integers by their size, but RabbitMQ compares the types with those of the
        # existing queue.
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


def _as_classic(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a classic queue that takes the place of a quorum queue."""
    kept = {name: value for name, value in arguments.items() if name not in REPUBLISHES_WITH_CONFIRMS}
    return {"x-queue-type": "classic", **kept}
