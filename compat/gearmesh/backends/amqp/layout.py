"""The queues of results and their declarations, by Machinery's rules, to the last argument type.

Source: ``tests/golden/amqp.json``. While a queue exists, RabbitMQ refuses (PRECONDITION_FAILED) a program that declares
it with another argument, or with the same one in another integer type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import amqp

from gearmesh.errors import ConfigError
from gearmesh.wire.names import chord_triggered_queue, group_lock_queue

if TYPE_CHECKING:
    from gearmesh.backends.amqp.connection_pool import ResultChannel

__all__ = ["Layout"]

_MAX_INT32: Final = (1 << 31) - 1


class Layout:
    """Declares the queues and exchanges of one result backend in RabbitMQ.

    Args:
        exchange, exchange_type: as in :class:`~gearmesh.config.AMQPConfig`.
        expire: seconds that a state lives.

    Raises:
        ConfigError: ``expire`` is more than the layout allows.
    """

    def __init__(self, exchange: str, exchange_type: str, expire: int) -> None:
        if expire * 1000 > _MAX_INT32:
            # Go: the milliseconds are an int32, which wraps; RabbitMQ then refuses the negative number.
            raise ConfigError(
                f"results_expire_in is {expire!r}; in RabbitMQ, where Machinery writes milliseconds as int32, "
                f"expected at most {_MAX_INT32 // 1000} seconds"
            )
        self.expire_ms = expire * 1000
        self.exchange_type = exchange_type
        #: The exchange to which states are published. A fanout exchange would copy each state to every queue bound to
        #: it, also to those of workers (Go: it does). In its place, "" takes a state to its queue without a binding.
        self.exchange = exchange if exchange_type in ("direct", "topic") else ""

    def declare_exchange(self, channel: Any) -> None:
        """Declare Machinery's exchange, if it is used."""
        if self.exchange:
            channel.exchange_declare(self.exchange, self.exchange_type, durable=True, auto_delete=False)

    def declare(self, channel: Any, name: str) -> None:
        """Declare the queue of a task, of a group or of its meta, without an answer. An error closes the channel
        later."""
        channel.queue_declare(name, durable=False, auto_delete=True, nowait=True, arguments=self._arguments())

    def ready(self, channel: Any, uuid: str) -> int:
        """Declare a queue, and return the number of its messages that are ready. Raises ``amqp.PreconditionFailed``."""
        declared = channel.queue_declare(uuid, durable=False, auto_delete=True, arguments=self._arguments())
        return int(declared.message_count)

    def bind(self, channel: Any, uuid: str) -> None:
        """Bind a queue to the exchange, without an answer."""
        if self.exchange:
            channel.queue_bind(uuid, self.exchange, uuid, nowait=True)

    def take_trigger(self, channel: Any, group_uuid: str, by: str) -> None:
        """Take a chord's trigger in one step on the server. It succeeds for one ``by`` only, any number of times.

        Go: a worker that finds this queue sends no callback; no Go worker declares it. The queue never has messages, so
        its dead letter key only serves for RabbitMQ to compare it with that of a new declaration. Raises
        ``amqp.PreconditionFailed`` for another ``by``.
        """
        arguments = {
            "x-expires": self.expire_ms,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": by,
        }
        channel.queue_declare(
            chord_triggered_queue(group_uuid), durable=False, auto_delete=False, arguments=arguments
        )

    def lock(self, channel: ResultChannel, group_uuid: str) -> bool:
        """Take a group's lock, which ends with the connection; False if another connection has it."""
        queue = group_lock_queue(group_uuid)
        try:
            channel.queue_declare(queue, durable=False, exclusive=True, auto_delete=False)
        except amqp.ChannelError as exc:
            channel.prepare()
            if isinstance(exc, amqp.ResourceLocked):
                return False
            raise
        return True

    def unlock(self, channel: Any, group_uuid: str) -> None:
        """Release the lock, without an answer."""
        channel.queue_delete(group_lock_queue(group_uuid), nowait=True)

    def _arguments(self) -> dict[str, Any]:
        # py-amqp writes an int that fits as a signed 32-bit one, which is Go's int32.
        return {"x-message-ttl": self.expire_ms, "x-expires": self.expire_ms}
