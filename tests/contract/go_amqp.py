"""A process of Machinery with results on RabbitMQ: a connection for each operation, nothing remembered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import amqp

from gearmesh.urls import AMQPTarget, parse
from gearmesh.wire.codec import decode_state, encode_state
from gearmesh.wire.names import chord_triggered_queue
from gearmesh.wire.state import TaskState


class GoSide:
    """The operations, on one vhost."""

    def __init__(self, url: str, expire: int = 3600) -> None:
        target = parse(url, "backend")
        assert isinstance(target, AMQPTarget)
        self._options = target.to_amqp()
        self._arguments = {"x-message-ttl": expire * 1000, "x-expires": expire * 1000}

    @contextmanager
    def channel(self) -> Iterator[Any]:
        """A channel of a connection of its own."""
        with amqp.Connection(**self._options, confirm_publish=True) as connection:
            yield connection.channel()

    def set(self, state: TaskState, group: str = "") -> None:
        """Add a state to its task's queue, and to its group's."""
        for queue in filter(None, (state.TaskUUID, group)):
            with self._declared(queue) as channel:
                message = amqp.Message(encode_state(state), content_type="application/json", delivery_mode=2)
                channel.basic_publish(message, "machinery_exchange", queue)

    def poll(self, uuid: str) -> TaskState | None:
        """Look once as a caller does: it finds the oldest state, which is gone then."""
        with self._declared(uuid) as channel:
            message = channel.basic_get(uuid)
            if message is None:
                return None
            channel.basic_ack(message.delivery_tag)
            return decode_state(body(message))

    def delete(self, queue: str) -> None:
        """Do as a caller does that has seen the final state."""
        with self.channel() as channel:
            channel.queue_delete(queue)

    def complete(self, group: str, members: int) -> bool:
        return self._ready(group) == members

    def triggers(self, group: str) -> bool:
        return self._ready(chord_triggered_queue(group)) is None

    def take(self, group: str, members: int) -> list[TaskState] | None:
        """Consume all of a group's states; None if they are not all there."""
        with self.channel() as channel:
            if self._ready(group) != members:
                return None
            got: list[Any] = []
            channel.basic_consume(group, exclusive=True, callback=got.append)
            while len(got) < members:
                channel.connection.drain_events(timeout=10)
            for message in got:
                channel.basic_ack(message.delivery_tag)
            return [decode_state(body(message)) for message in got]

    def forget(self, group: str) -> None:
        for queue in (chord_triggered_queue(group), group):
            self.delete(queue)

    def end_member(self, state: TaskState, group: str, members: int) -> list[TaskState] | None:
        """Do all that Go does after a member's success; return the states for the callback, None if it sends none."""
        self.set(state, group)
        if not self.complete(group, members):
            return None
        try:
            return self.take(group, members) if self.triggers(group) else None
        except (amqp.AMQPError, OSError):
            return None
        finally:
            self.forget(group)

    def _ready(self, queue: str) -> int | None:
        with self.channel() as channel:
            try:
                return int(channel.queue_declare(queue, passive=True).message_count)
            except amqp.NotFound:
                return None

    @contextmanager
    def _declared(self, queue: str) -> Iterator[Any]:
        with self.channel() as channel:
            channel.exchange_declare("machinery_exchange", "direct", durable=True, auto_delete=False)
            channel.queue_declare(queue, durable=False, auto_delete=True, arguments=self._arguments)
            channel.queue_bind(queue, "machinery_exchange", queue)
            yield channel


def body(message: Any) -> bytes:
    """Return the bytes of a message; py-amqp may have decoded them to a str."""
    raw = message.body
    return raw.encode() if isinstance(raw, str) else bytes(raw)
