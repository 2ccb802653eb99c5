"""What is declared in RabbitMQ, and which routing key leads where: Machinery's rules, and where we differ.

Pure: nothing here speaks to a server. Source: recordings of a running Machinery (tests/golden/amqp.json).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from gearmesh.config import AMQPConfig
from gearmesh.errors import ConfigError, LocalProtocolError
from gearmesh.transports.amqp.frames import QueueDeclaration
from gearmesh.wire.names import AMQP_DUE, amqp_dead, amqp_due, amqp_parked, amqp_rung, amqp_sent

__all__ = ["REPUBLISHES_WITH_CONFIRMS", "RUNGS_MS", "Topology", "round_up", "rungs_of"]

#: Arguments by which RabbitMQ keeps a message whose time is over until the next queue has confirmed it. In a queue of
#: another type it forgets the message first, and one that is killed at that moment loses it.
REPUBLISHES_WITH_CONFIRMS: Final = {
    "x-queue-type": "quorum",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
#: Milliseconds that a message spends in each delay queue through which it passes, 8 ms to four years. One that is
#: shorter would cost more time on the way than it measures: RabbitMQ needs some 3 ms to move a message.
RUNGS_MS: Final = tuple(8 << power for power in range(35))

#: Durations per power of ten in which what is parked may wait.
WAIT_STEPS_PER_DECADE: Final = 10
#: Milliseconds after which the queue of a producer's checkpoints is gone if nobody uses it any more.
UNUSED_QUEUE_TTL_MS: Final = 600_000


class Topology:
    """The queues of one broker by Machinery's settings.

    Args:
        config: Machinery's settings for AMQP.
        default_queue: what workers read that name no queue.
    """

    def __init__(self, config: AMQPConfig, default_queue: str) -> None:
        self.config = config
        self.default_queue = default_queue
        self.direct = config.exchange_type == "direct"

    def target(self, routing_key: str) -> QueueDeclaration:
        """The queue that has to be there when a message with this routing key is sent.

        Go: declares a queue by the name of the routing key, whoever reads it; so what has the BindingKey goes to an
        orphan until the first worker comes. Ours is the queue the workers read.
        """
        if not self.direct:
            # Go: only the default queue; who wants something else has bound it.
            return self._queue(self.default_queue, self.config.binding_key)
        if routing_key == self.config.binding_key:
            return self._queue(self.default_queue, routing_key)
        return self._queue(routing_key, routing_key)

    def source(self, queue: str) -> QueueDeclaration:
        """The queue that a worker reads.

        Go: binds a custom queue with the BindingKey, too, and so makes it get a copy of each default task.
        """
        return self._queue(queue, self.config.binding_key if queue == self.default_queue else queue)

    def delay_ms(self, seconds: float) -> int:
        """The milliseconds of a delay.

        Raises:
            LocalProtocolError: RabbitMQ does not delay a message for so long.
        """
        most = self.config.max_delay
        if seconds > most:
            raise LocalProtocolError(
                f"its ETA is {seconds / 86400:.0f} days from now, but RabbitMQ delays a message for at most "
                f"{most / 86400:.0f} days"
            )
        return max(1, math.ceil(seconds * 1000))

    def delayed_queue(self, routing_key: str) -> QueueDeclaration:
        """The one queue for all delayed messages, if the settings name one."""
        name = self.config.delayed_queue
        arguments = {
            "x-dead-letter-exchange": self.config.exchange,
            "x-dead-letter-routing-key": routing_key,
        }
        return QueueDeclaration(
            _checked(name), arguments, name, self.config.queue_binding_args, self.config.auto_delete
        )

    def _queue(self, name: str, key: str) -> QueueDeclaration:
        config = self.config
        return QueueDeclaration(_checked(name), config.queue_declare_args, key, config.queue_binding_args)

    # -- queues of ours, which Go never sees

    def rungs(self) -> Iterator[QueueDeclaration]:
        """All delay queues, the shortest first. Each leads to the exchange of the next shorter one."""
        below = AMQP_DUE
        for ms in RUNGS_MS:
            name = amqp_rung(ms)
            arguments = {**REPUBLISHES_WITH_CONFIRMS, "x-message-ttl": ms, "x-dead-letter-exchange": below}
            yield QueueDeclaration(name, arguments, name, exchange=name)
            below = name

    def due(self, routing_key: str) -> QueueDeclaration:
        """The queue through which a message leaves the delay queues for the exchange, with this routing key.

        Each key has its own: where a target is full or gone, its messages wait there, and in nobody's way.
        """
        name = _checked(amqp_due(self.config.exchange, routing_key))
        arguments = {
            **REPUBLISHES_WITH_CONFIRMS,
            "x-message-ttl": 0,
            "x-dead-letter-exchange": self.config.exchange,
            "x-dead-letter-routing-key": routing_key,
        }
        return QueueDeclaration(name, arguments, name, exchange=AMQP_DUE)

    def parked(self, queue: str, seconds: float) -> QueueDeclaration:
        """Where a parked message waits before it goes back to ``queue``."""
        ms = round_up(max(1, math.ceil(seconds * 1000)), WAIT_STEPS_PER_DECADE)
        arguments = {
            **REPUBLISHES_WITH_CONFIRMS,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": queue,
            "x-message-ttl": ms,
        }
        return QueueDeclaration(_checked(amqp_parked(ms, queue)), arguments)

    def after(self, queue: QueueDeclaration) -> QueueDeclaration | None:
        """The queue to which messages parked in this one return; None: it is no such queue."""
        arguments = queue.arguments
        if arguments.get("x-dead-letter-exchange") != "":
            return None
        return self.source(arguments["x-dead-letter-routing-key"])

    def parking(self, queue: str) -> Iterator[tuple[int, str]]:
        """Milliseconds and names of all queues in which a message may be parked for ``queue``."""
        seen = 0
        for step in range(12 * WAIT_STEPS_PER_DECADE + 1):
            ms = math.ceil(10 ** (step / WAIT_STEPS_PER_DECADE) - 1e-9)
            if ms != seen:
                yield ms, _checked(amqp_parked(ms, queue))
            seen = ms

    def dead(self, queue: str) -> QueueDeclaration:
        """Where the dead letters of ``queue`` are."""
        return QueueDeclaration(_checked(amqp_dead(queue)))

    def sent(self, producer: str) -> QueueDeclaration:
        """Where a producer notes down how far it has come."""
        return QueueDeclaration(
            _checked(amqp_sent(producer)), {"x-max-length": 1, "x-expires": UNUSED_QUEUE_TTL_MS}
        )


def rungs_of(ms: int) -> tuple[int, ...]:
    """The delay queues through which a message passes in ``ms`` or a little more, the longest first."""
    shortest = RUNGS_MS[0]
    total = -(-ms // shortest) * shortest
    # RabbitMQ cuts its clock to whole milliseconds: each of them may let a message go 1 ms too early.
    while total - ms < total.bit_count():
        total += shortest
    return tuple(rung for rung in reversed(RUNGS_MS) if total & rung)


def round_up(ms: int, steps: int) -> int:
    """The next of ``steps`` durations per power of ten, evenly apart by their logarithms; at least ``ms``."""
    # One step too low, as a duration was rounded up to a whole number itself; it takes two steps at the most.
    step = max(0, math.ceil(math.log10(ms) * steps) - 1)
    while (rounded := math.ceil(10 ** (step / steps) - 1e-9)) < ms:
        step += 1
    return rounded


def _checked(name: str) -> str:
    if not name:
        raise ConfigError("queue name is '', expected at least one character")
    if len(name.encode("utf-8", "surrogateescape")) > 255:
        raise ConfigError(f"queue name is {name!r}: RabbitMQ allows 255 bytes")
    return name
