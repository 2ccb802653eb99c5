"""gearmesh's transports for a Celery app: its tasks are signatures, all else is as kombu has it."""

from __future__ import annotations

import logging
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from celery._state import _get_active_apps, get_current_app
from kombu.compression import decompress

from gearmesh.celery.bridge import Bridge
from gearmesh.celery.checks import TRANSPORTS
from gearmesh.celery.codec import from_wire, to_wire
from gearmesh.celery.content import TaskMessage, read, write
from gearmesh.celery.event_loop import LoopedConnection, Looping
from gearmesh.celery.outgoing import outgoing
from gearmesh.celery.setup import bridge_of
from gearmesh.commits.flusher import Flusher
from gearmesh.errors import ConfigError, LocalProtocolError, ProtocolError
from gearmesh.interfaces.commit import Commit, Publish, Settle
from gearmesh.interfaces.transport import SIGNATURE_CONTENT_TYPE
from gearmesh.redis_client.runner import run
from gearmesh.transports import amqp, memory, redis
from gearmesh.transports.amqp.channel import Channel as AMQPChannel
from gearmesh.transports.redis.channel import Channel as RedisChannel
from gearmesh.wire import gotime
from gearmesh.wire.codec import decode, encode, encode_state
from gearmesh.wire.state import PENDING, TaskState

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AMQPTransport", "Bridging", "MemoryTransport", "Transport"]

log = logging.getLogger("gearmesh.celery")


class Bridging:
    """A part of a gearmesh channel that a Celery app publishes to and consumes from.

    A published task becomes a Signature and leaves by the channel's ``commit``, its state PENDING with it; a delivered
    Signature becomes a message of Celery's protocol 2. Whatever else kombu carries (remote control, events, replies,
    broadcast tasks) passes untouched.
    """

    connection: Any
    _flusher: Flusher | None = None

    @property
    def bridge(self) -> Bridge:
        """The bridge of the app whose connection this is. Raises ConfigError if there is none."""
        client = self.connection.client
        found = client.transport_options.get("bridge")
        return found if isinstance(found, Bridge) else _find(client)

    # -- out

    def prepare_message(
        self,
        body: Any,
        priority: int | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
        headers: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """kombu's hook: a task's message is kept as it is until it is known where it goes."""
        headers, properties = dict(headers or {}), dict(properties or {})
        prepare = super().prepare_message  # type: ignore[misc]

        def as_kombu() -> Any:
            return prepare(body, priority, content_type, content_encoding, headers, properties, **kwargs)

        content = body
        packed = headers.get("compression") if "task" in headers else None
        if packed:
            content = decompress(body, packed)
        message = None
        if content_type != SIGNATURE_CONTENT_TYPE:
            plain = {name: value for name, value in headers.items() if name != "compression"}
            message = read(content, content_type, plain, {**properties, "priority": priority or 0})
        return as_kombu() if message is None else _Task(message, as_kombu)

    def basic_publish(self, message: Any, exchange: str = "", routing_key: str = "", **kwargs: Any) -> Any:
        """kombu's hook, see :meth:`prepare_message`."""
        publish = super().basic_publish  # type: ignore[misc]
        if not isinstance(message, _Task):
            return publish(message, exchange, routing_key, **kwargs)
        if exchange and self._kind(exchange) == "fanout":
            return publish(message.as_kombu(), exchange, routing_key, **kwargs)
        for queue in self._queues(exchange, routing_key):
            self._send(message.task, queue)
        return None

    def _kind(self, exchange: str) -> str:
        return str(self.typeof(exchange).type)  # type: ignore[attr-defined]

    def _queues(self, exchange: str, routing_key: str) -> list[str]:
        return list(self._lookup(exchange, routing_key))  # type: ignore[attr-defined]

    def _send(self, message: TaskMessage, queue: str) -> None:
        bridge = self.bridge
        sig = outgoing(bridge, message, queue)
        now = time.time_ns()
        eta = gotime.parse(sig.ETA) if sig.ETA is not None else 0
        states: tuple[TaskState, ...] = ()
        if not message.headers.get("ignore_result"):
            created = gotime.format_ns(now)
            states = (TaskState(TaskUUID=sig.UUID, TaskName=sig.Name, State=PENDING, CreatedAt=created),)
        publish = Publish(sig.RoutingKey, encode(sig), eta if eta > now else 0, sig.Priority)
        if self._flusher is None:
            self._flusher = Flusher(self, bridge.backend)  # type: ignore[arg-type]
        self._carry(self._flusher, states, publish)

    def _carry(self, flusher: Flusher, states: tuple[TaskState, ...], publish: Publish) -> None:
        """Write the states and send the message, which nobody may read before."""
        flusher.flush([Commit(states=states, publishes=(publish,))])

    # -- in

    def message_to_python(self, raw_message: Any) -> Any:
        """kombu's hook: a signature becomes a message that a Celery worker understands."""
        message = super().message_to_python(raw_message)  # type: ignore[misc]
        if message.content_type == SIGNATURE_CONTENT_TYPE and not message.errors:
            try:
                _into(message)
            except ProtocolError:
                message.errors.append(sys.exc_info())
        return message


class _Task:
    """A published task on its way between kombu's two hooks."""

    def __init__(self, task: TaskMessage, as_kombu: Any) -> None:
        self.task = task
        self.as_kombu = as_kombu


def _into(message: Any) -> None:
    sig = decode(message.body)
    if not sig.Name or not sig.UUID:
        raise LocalProtocolError("a signature without a Name or a UUID")
    message.signature = sig
    task = from_wire(sig)
    message.body, message.content_type, message.content_encoding = write(task)
    message.headers = task.headers
    message.properties = {
        **task.properties,
        "correlation_id": task.id,
        "reply_to": task.reply_to,
        "priority": task.priority,
    }
    again = task.again or bool(message.delivery.redelivered)
    # A retry goes where its message came from: to the queue, whatever exchange has brought it there.
    queue = {"exchange": "", "routing_key": message.delivery.queue}
    message.delivery_info = {**message.delivery_info, **queue, "redelivered": again}
    message.task = task
    message.reject = partial(_reject, message)


def _reject(message: Any, requeue: bool = False) -> None:
    """A message put back goes behind the others, and says so: who gets it next is to know."""
    if message.acknowledged or not requeue:
        type(message).reject(message, requeue)
        return
    delivery = message.delivery
    again = msgspec.structs.replace(message.task, again=True)
    sig = to_wire(again, queue=message.signature.RoutingKey)
    publish = Publish(delivery.queue, encode(sig), 0, sig.Priority)
    message.channel.commit([Commit(publishes=(publish,), settle=Settle(delivery))])
    message._state = "REJECTED"


def _find(client: Any) -> Bridge:
    """For the first publish of an app that only has settings, before anything has asked for its bridge."""
    for app in dict.fromkeys((get_current_app(), *_get_active_apps())):
        if app.conf.broker_transport in TRANSPORTS.values() and _where(app.connection_for_write()) == _where(
            client
        ):
            bridge = bridge_of(app)
            client.transport_options = {**client.transport_options, "bridge": bridge}
            return bridge
    raise ConfigError("no Celery app has these broker settings: gearmesh's transports for Celery need one")


def _where(client: Any) -> tuple[Any, ...]:
    return client.hostname, client.port, client.virtual_host, client.userid


class _RedisChannel(Bridging, RedisChannel):
    def _carry(self, flusher: Flusher, states: tuple[TaskState, ...], publish: Publish) -> None:
        """What nearly every call is (one state, a message for now, one Redis for both) has a script of its own."""
        if not flusher.atomic or publish.eta_ns or len(states) != 1:
            super()._carry(flusher, states, publish)
            return
        document = encode_state(states[0])
        arguments = [document, self.bridge.backend.expire, publish.body]
        run(self.redis, "publish", [states[0].TaskUUID, publish.queue], arguments)
        self._replicas.wait(self.redis, publish.queue)


class Transport(redis.Transport):
    """``broker_transport = "gearmesh.celery:Transport"`` for ``redis://`` and ``rediss://``."""

    Channel = _RedisChannel


class _AMQPChannel(Bridging, AMQPChannel):
    """RabbitMQ knows its exchanges; here only what the app's settings say of them is known."""

    def basic_consume(self, queue: str = "", *args: Any, **kwargs: Any) -> str:
        if any(queue == each.name for each in self.bridge.celery.amqp.queues.consume_from.values()):
            self._declared.discard(queue)  # Celery has: but it is to be bound as Machinery's queues are, too
        return str(super().basic_consume(queue, *args, **kwargs))

    def _kind(self, exchange: str) -> str:
        kinds = {str(queue.exchange.type) for queue in self._of(exchange)}
        return "fanout" if kinds == {"fanout"} else "direct"

    def _queues(self, exchange: str, routing_key: str) -> list[str]:
        if not exchange:
            return [routing_key]
        found = [queue.name for queue in self._of(exchange) if queue.routing_key == routing_key]
        if not found:
            raise ConfigError(
                f"no queue of task_queues is bound to exchange {exchange!r} by {routing_key!r}: "
                "tasks go to queues, name one (queue=…)"
            )
        return found

    def _of(self, exchange: str) -> list[Any]:
        queues = self.bridge.celery.amqp.queues.values()
        return [queue for queue in queues if queue.exchange is not None and queue.exchange.name == exchange]


class _AMQPLink(LoopedConnection):
    Channel = _AMQPChannel


class AMQPTransport(amqp.Transport):
    """``broker_transport = "gearmesh.celery:AMQPTransport"`` for ``amqp://`` and ``amqps://``."""

    Connection = _AMQPLink
    implements = amqp.Transport.implements.extend(asynchronous=True)

    def register_with_event_loop(self, connection: LoopedConnection, loop: Any) -> None:
        """kombu's hook."""
        Looping(connection, loop, partial(self.drain_events, connection, timeout=0)).join()


class _MemoryChannel(Bridging, memory.Channel):
    pass


class MemoryTransport(memory.Transport):
    """``broker_transport = "gearmesh.celery:MemoryTransport"`` for ``memory://``, in tests."""

    Channel = _MemoryChannel
