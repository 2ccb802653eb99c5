"""What is declared in RabbitMQ, and which routing key leads where: Machinery's rules, and where we differ.

Pure: nothing here speaks to a server. Source: recordings of a running Machinery (tests/golden/amqp.json).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gearmesh.config import AMQPConfig
from gearmesh.errors import ConfigError, LocalProtocolError
from gearmesh.transports.amqp.frames import Int64, QueueDeclaration
from gearmesh.wire.names import amqp_dead, amqp_delay, amqp_lasting, amqp_sent, amqp_spare, amqp_wait

__all__ = ["Topology", "round_up"]

#: Durations per power of ten in which what is parked may wait.
WAIT_STEPS_PER_DECADE: Final = 10
#: Milliseconds after which a queue of ours that nobody uses any more is gone.
UNUSED_QUEUE_TTL_MS: Final = 600_000
#: Spares of one queue at the most, and their bytes; the oldest are dropped.
MAX_BACKUP_MESSAGES: Final = 10_000
MAX_BACKUP_BYTES: Final = 1 << 28


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

    def delay(self, routing_key: str, seconds: float) -> tuple[QueueDeclaration, str]:
        """The queue in which a message waits before it goes to ``routing_key``, and its expiration ("": the queue's).

        Raises:
            LocalProtocolError: RabbitMQ does not delay a message for so long.
        """
        most = self.config.max_delay
        if seconds > most:
            raise LocalProtocolError(
                f"its ETA is {seconds / 86400:.0f} days from now, but RabbitMQ delays a message for at most "
                f"{most / 86400:.0f} days"
            )
        ms = max(1, math.ceil(seconds * 1000))
        if self.config.delay_steps:
            ms = min(round_up(ms, self.config.delay_steps), int(most * 1000))
        arguments: dict[str, Any] = {
            "x-dead-letter-exchange": self.config.exchange,
            "x-dead-letter-routing-key": routing_key,
        }
        name = self.config.delayed_queue
        if name:
            return self._ours(name, arguments), str(ms)
        # Go: int64, and the queue lives twice as long as its messages wait.
        arguments |= {"x-message-ttl": Int64(ms), "x-expires": Int64(2 * ms)}
        return self._ours(amqp_delay(ms, self.config.exchange, routing_key), arguments), ""

    def _ours(self, name: str, arguments: Mapping[str, Any]) -> QueueDeclaration:
        return QueueDeclaration(
            _checked(name),
            arguments,
            name,
            self.config.queue_binding_args,
            self.config.auto_delete,
            expires="x-expires" in arguments,
        )

    def _queue(self, name: str, key: str) -> QueueDeclaration:
        config = self.config
        return QueueDeclaration(_checked(name), config.queue_declare_args, key, config.queue_binding_args)

    # -- queues of ours, which Go never sees

    def wait(self, queue: str, seconds: float) -> QueueDeclaration:
        """Where a message waits before it goes back to ``queue``."""
        ms = round_up(max(1, math.ceil(seconds * 1000)), WAIT_STEPS_PER_DECADE)
        arguments = {
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": queue,
            "x-message-ttl": ms,
            "x-expires": 2 * ms + UNUSED_QUEUE_TTL_MS,
        }
        return QueueDeclaration(_checked(amqp_wait(ms, queue)), arguments, expires=True)

    def after(self, queue: QueueDeclaration) -> QueueDeclaration | None:
        """Where what waits in one of these queues goes; None: it is no such queue, or not ours."""
        arguments = queue.arguments
        if arguments.get("x-dead-letter-exchange") != "":
            return None
        return self.source(arguments["x-dead-letter-routing-key"])

    def lasting(self, queue: QueueDeclaration) -> QueueDeclaration:
        """In place of a queue in which messages wait for some time, one that outlives them by far."""
        name = _checked(amqp_lasting(queue.name))
        lives = queue.arguments["x-expires"] + UNUSED_QUEUE_TTL_MS
        return queue._replace(
            name=name, binding_key=name, arguments={**queue.arguments, "x-expires": Int64(lives)}
        )

    def waits(self, queue: str) -> Iterator[tuple[int, str]]:
        """Milliseconds and names of all queues in which something may wait for ``queue``, up to 32 years."""
        seen = 0
        for step in range(12 * WAIT_STEPS_PER_DECADE + 1):
            ms = math.ceil(10 ** (step / WAIT_STEPS_PER_DECADE) - 1e-9)
            if ms != seen:
                yield ms, _checked(amqp_wait(ms, queue))
            seen = ms

    def dead(self, queue: str) -> QueueDeclaration:
        """Where the dead letters of ``queue`` are."""
        return QueueDeclaration(_checked(amqp_dead(queue)))

    def sent(self, producer: str) -> QueueDeclaration:
        """Where a producer notes down how far it has come."""
        return QueueDeclaration(
            _checked(amqp_sent(producer)), {"x-max-length": 1, "x-expires": UNUSED_QUEUE_TTL_MS}, expires=True
        )

    def spare(self, seconds: float) -> QueueDeclaration | None:
        """Where the spares of what waits for so long are; None: there are none."""
        ms = math.ceil(seconds * 1000)
        return next((queue for most, queue in self._spares() if ms <= most), None)

    def spares(self) -> Iterator[QueueDeclaration]:
        """All queues of spares."""
        return (queue for _, queue in self._spares())

    def _spares(self) -> Iterator[tuple[int, QueueDeclaration]]:
        """One per power of ten, 10 s to 10**6 s: where all live equally long, they expire in order."""
        for ms in (10**power for power in range(4, 10)):
            lives = ms + UNUSED_QUEUE_TTL_MS
            arguments = {
                "x-queue-type": "classic",
                "x-message-ttl": lives,
                "x-max-length": MAX_BACKUP_MESSAGES,
                "x-max-length-bytes": MAX_BACKUP_BYTES,
                "x-expires": 2 * lives,
            }
            yield ms, QueueDeclaration(amqp_spare(ms // 1000), arguments, expires=True)


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
