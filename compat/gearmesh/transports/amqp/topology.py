"""The topology says which queues, bindings and arguments RabbitMQ gets: Machinery's rules, and gearmesh's own queues.

It does no I/O. Its rules come from recordings of a running Machinery (tests/golden/amqp.json).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from gearmesh.config import AMQPConfig
from gearmesh.errors import ConfigError, LocalProtocolError
from gearmesh.transports.amqp.frames import QueueDeclaration
from gearmesh.wire.names import AMQP_DUE, amqp_dead, amqp_due, amqp_parked, amqp_rung

__all__ = ["REPUBLISHES_WITH_CONFIRMS", "RUNGS_MS", "Topology", "round_up", "rungs_of"]

#: Arguments by which RabbitMQ keeps an expired message until the next queue has confirmed it. A classic queue forgets
#: the message first, and a RabbitMQ that is killed at that moment loses it.
REPUBLISHES_WITH_CONFIRMS: Final = {
    "x-queue-type": "quorum",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
#: TTL of each delay queue, ms: 8 ms to four years. RabbitMQ needs some 3 ms to move a message, so a shorter delay queue
#: would take longer than its TTL.
RUNGS_MS: Final = tuple(8 << power for power in range(35))

#: Number of durations per power of ten for which a message may be parked.
WAIT_STEPS_PER_DECADE: Final = 10


class Topology:
    """Describes the queues of one broker by Machinery's settings.

    Args:
        config: Machinery's settings for AMQP.
        default_queue: the queue of workers that name none.
    """

    def __init__(self, config: AMQPConfig, default_queue: str) -> None:
        self.config = config
        self.default_queue = default_queue
        self.direct = config.exchange_type == "direct"

    def target(self, routing_key: str) -> QueueDeclaration:
        """Return the queue that must exist when a producer sends a message with this routing key.

        Go: declares a queue by the name of the routing key, so that messages with the BindingKey go to a queue that no
        worker reads, until the first worker starts. gearmesh declares the queue that the workers read.
        """
        if not self.direct:
            # Go: declares only the default queue; users bind the others themselves.
            return self._queue(self.default_queue, self.config.binding_key)
        if routing_key == self.config.binding_key:
            return self._queue(self.default_queue, routing_key)
        return self._queue(routing_key, routing_key)

    def source(self, queue: str) -> QueueDeclaration:
        """Return the queue that a worker reads, with its binding.

        Go: binds a custom queue with the BindingKey, too, so that it gets a copy of each default task.
        """
        return self._queue(queue, self.config.binding_key if queue == self.default_queue else queue)

    def delay_ms(self, seconds: float) -> int:
        """Convert a delay to ms, at least 1.

        Raises:
            LocalProtocolError: RabbitMQ cannot delay a message for so long.
        """
        most = self.config.max_delay
        if seconds > most:
            raise LocalProtocolError(
                f"its ETA is {seconds / 86400:.0f} days from now, but RabbitMQ delays a message for at most "
                f"{most / 86400:.0f} days"
            )
        return max(1, math.ceil(seconds * 1000))

    def delayed_queue(self, routing_key: str) -> QueueDeclaration:
        """Return the one queue for all delayed messages; the settings must name it."""
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

    # -- gearmesh's own queues, which Go never sees

    def rungs(self) -> Iterator[QueueDeclaration]:
        """Yield all delay queues, the shortest first.

        Each is bound to an exchange of its own, whose alternate exchange is that of the next shorter one, and
        dead-letters to the latter. So a message passes through the delay queues that its routing keys name, from the
        longest to the shortest, and then goes to the exchange :data:`AMQP_DUE`.
        """
        below = AMQP_DUE
        for ms in RUNGS_MS:
            name = amqp_rung(ms)
            arguments = {**REPUBLISHES_WITH_CONFIRMS, "x-message-ttl": ms, "x-dead-letter-exchange": below}
            yield QueueDeclaration(name, arguments, name, exchange=name)
            below = name

    def due(self, routing_key: str) -> QueueDeclaration:
        """Return the queue by which a message with this routing key leaves the delay queues for Machinery's exchange.

        RabbitMQ takes 32 messages at a time out of a quorum queue that dead-letters. If all delayed messages left by
        one queue, 32 whose target is full or gone would stop the others.
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
        """Return the queue in which a parked message waits before it returns to ``queue``."""
        ms = round_up(max(1, math.ceil(seconds * 1000)), WAIT_STEPS_PER_DECADE)
        arguments = {
            **REPUBLISHES_WITH_CONFIRMS,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": queue,
            "x-message-ttl": ms,
        }
        return QueueDeclaration(_checked(amqp_parked(ms, queue)), arguments)

    def after(self, queue: QueueDeclaration) -> QueueDeclaration | None:
        """Return the queue to which messages parked in this one return; None: no message is parked in it."""
        arguments = queue.arguments
        if arguments.get("x-dead-letter-exchange") != "":
            return None
        return self.source(arguments["x-dead-letter-routing-key"])

    def parking(self, queue: str) -> Iterator[tuple[int, str]]:
        """Yield the milliseconds and names of all queues in which a message may be parked for ``queue``."""
        steps = range(12 * WAIT_STEPS_PER_DECADE + 1)
        for ms in sorted({math.ceil(10 ** (step / WAIT_STEPS_PER_DECADE) - 1e-9) for step in steps}):
            yield ms, _checked(amqp_parked(ms, queue))

    def dead(self, queue: str) -> QueueDeclaration:
        """Return the queue of the dead letters of ``queue``."""
        return QueueDeclaration(_checked(amqp_dead(queue)))


def rungs_of(ms: int) -> tuple[int, ...]:
    """Return the TTLs of the delay queues through which a message passes, the longest first.

    Their sum is 1 to 42 ms more than ``ms``: a multiple of the shortest TTL, and at least 1 ms more for each queue.
    """
    shortest = RUNGS_MS[0]
    total = -(-ms // shortest) * shortest
    # RabbitMQ cuts its clock to whole milliseconds: each queue may let a message go 1 ms too early.
    while total - ms < total.bit_count():
        total += shortest
    return tuple(rung for rung in reversed(RUNGS_MS) if total & rung)


def round_up(ms: int, steps: int) -> int:
    """Round up to the next of ``steps`` durations per power of ten, whose logarithms are evenly apart."""
    # The durations are rounded up to whole numbers, so begin one step too low; the loop takes two steps at most.
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
