"""gearmesh's transports for a Celery app: tasks travel as signatures, every other message as kombu writes it.

kombu calls its hooks on the channel, so each channel class here inherits them (:class:`_TaskHooks`). Each channel has
one :class:`TaskPublisher`, or a subclass if its broker needs one, to which the hooks pass calls on their way out. They
pass messages on their way in to :func:`_to_protocol_2`.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import msgspec
from celery._state import _get_active_apps, get_current_app
from kombu.compression import decompress
from kombu.transport.native_delayed_delivery import MAX_NUMBER_OF_BITS_TO_USE
from kombu.transport.virtual.exchange import STANDARD_EXCHANGE_TYPES

from gearmesh.celery.bridge import Bridge
from gearmesh.celery.checks import TRANSPORTS
from gearmesh.celery.codec import from_wire, to_wire
from gearmesh.celery.content import TaskMessage, read, write
from gearmesh.celery.event_loop import EventLoopConnection, EventLoopMembership
from gearmesh.celery.outgoing import outgoing
from gearmesh.celery.setup import bridge_of
from gearmesh.commits.flusher import Flusher
from gearmesh.errors import ConfigError, LocalProtocolError, ProtocolError
from gearmesh.interfaces.commit import Commit, Publish, Settle
from gearmesh.interfaces.transport import SIGNATURE_CONTENT_TYPE
from gearmesh.transports import amqp, memory, redis
from gearmesh.transports.amqp.channel import Channel as AMQPChannel
from gearmesh.transports.redis.channel import Channel as RedisChannel
from gearmesh.transports.registry import message_check
from gearmesh.wire import gotime
from gearmesh.wire.codec import decode, encode
from gearmesh.wire.state import PENDING, TaskState

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AMQPTransport", "MemoryTransport", "Transport"]

log = logging.getLogger("gearmesh.celery")

#: The beginning of a routing key that says how long RabbitMQ is to delay the message.
_DELAY_LEVELS: Final = re.compile(rf"^(?:[01]\.){{{MAX_NUMBER_OF_BITS_TO_USE}}}")


class TaskPublisher:
    """Publishes a Celery app's tasks through one channel. Belongs to the channel's thread.

    Raises ConfigError if no Celery app has this broker.
    """

    def __init__(self, channel: Any) -> None:
        self.bridge = _bridge_for(channel.connection.client)
        self._channel = channel

    @cached_property
    def _check(self) -> Callable[[str, bytes], object] | None:
        return message_check(self.bridge.gear.config)

    @cached_property
    def _flusher(self) -> Flusher:
        return Flusher(self._channel, self.bridge.backend)

    def is_fanout(self, exchange: str) -> bool:
        """True if messages to this exchange go to all its queues: broadcast tasks, which Go does not have."""
        return bool(self._channel.typeof(exchange).type == "fanout")

    def queues(self, exchange: str, routing_key: str) -> list[str]:
        """Return the queues that a message to this exchange reaches.

        Raises ConfigError if it reaches no queue, because the message would be lost.
        """
        found = self._reached(exchange, routing_key)
        if not found:
            raise ConfigError(
                f"no queue of task_queues is bound to exchange {exchange!r} by {routing_key!r}: "
                "name the task's queue (queue=…)"
            )
        return found

    def _reached(self, exchange: str, routing_key: str) -> list[str]:
        return list(self._channel._lookup(exchange, routing_key))

    def publish(self, message: TaskMessage, queue: str) -> None:
        """Send a call to a queue as a signature, with its PENDING state.

        Raises the errors of :func:`.outgoing.outgoing`, of the channel and of the backend.
        """
        sig = outgoing(self.bridge, message, queue)
        body = encode(sig)
        if self._check is not None:
            self._check(sig.RoutingKey, body)
        now = time.time_ns()
        eta = gotime.parse(sig.ETA) if sig.ETA is not None else 0
        states: tuple[TaskState, ...] = ()
        if not message.headers.get("ignore_result"):
            created = gotime.format_ns(now)
            states = (TaskState(TaskUUID=sig.UUID, TaskName=sig.Name, State=PENDING, CreatedAt=created),)
        self._commit(states, Publish(sig.RoutingKey, body, eta if eta > now else 0, sig.Priority))

    def _commit(self, states: tuple[TaskState, ...], publish: Publish) -> None:
        """Write the states before the message is sent, so that no worker has the message without them."""
        self._flusher.flush([Commit(states=states, publishes=(publish,))])


class _AMQPTaskPublisher(TaskPublisher):
    """Finds the queues of an exchange in the app's settings, because AMQP cannot list its bindings."""

    def is_fanout(self, exchange: str) -> bool:
        return {str(queue.exchange.type) for queue in self._bound_to(exchange)} == {"fanout"}

    def _reached(self, exchange: str, routing_key: str) -> list[str]:
        if not exchange:
            return [routing_key]
        undelayed = _DELAY_LEVELS.sub("", routing_key)
        if undelayed != routing_key:
            # The exchange by which Celery delays tasks of quorum queues. The signature has the ETA.
            bound, routing_key = self.bridge.celery.amqp.queues.values(), undelayed
        else:
            bound = self._bound_to(exchange)
        return [queue.name for queue in bound if self._is_reached(queue, routing_key)]

    def _is_reached(self, queue: Any, routing_key: str) -> bool:
        kind = STANDARD_EXCHANGE_TYPES.get(queue.exchange.type)
        if kind is None:
            return False
        rules = kind(self._channel)
        bound = rules.prepare_bind(queue.name, queue.exchange.name, queue.routing_key, {})
        return bool(rules.lookup([bound], queue.exchange.name, routing_key, None))

    def _bound_to(self, exchange: str) -> list[Any]:
        queues = self.bridge.celery.amqp.queues.values()
        return [queue for queue in queues if queue.exchange is not None and queue.exchange.name == exchange]


class _TaskHooks:
    """Replaces the three hooks of kombu through which a channel's messages pass, for the channels of Celery apps."""

    Publisher: ClassVar[type[TaskPublisher]] = TaskPublisher

    @cached_property
    def tasks(self) -> TaskPublisher:
        return self.Publisher(self)

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
        """kombu's hook: keep a task's message as it is until :meth:`basic_publish` knows its queue."""
        headers, properties = dict(headers or {}), dict(properties or {})
        prepare = super().prepare_message  # type: ignore[misc]

        def as_kombu() -> Any:
            return prepare(body, priority, content_type, content_encoding, headers, properties, **kwargs)

        content = body
        compression = headers.get("compression") if "task" in headers else None
        if compression:
            content = decompress(body, compression)
        message = None
        if content_type != SIGNATURE_CONTENT_TYPE:
            plain = {name: value for name, value in headers.items() if name != "compression"}
            message = read(content, content_type, plain, {**properties, "priority": priority or 0})
        return as_kombu() if message is None else _PreparedTask(message, as_kombu)

    def basic_publish(self, message: Any, exchange: str = "", routing_key: str = "", **kwargs: Any) -> Any:
        """kombu's hook: send a task as a signature to each of its queues, and any other message as kombu does."""
        publish = super().basic_publish  # type: ignore[misc]
        if not isinstance(message, _PreparedTask):
            return publish(message, exchange, routing_key, **kwargs)
        if exchange and self.tasks.is_fanout(exchange):
            return publish(message.as_kombu(), exchange, routing_key, **kwargs)
        for queue in self.tasks.queues(exchange, routing_key):
            self.tasks.publish(message.task, queue)
        return None

    def message_to_python(self, raw_message: Any) -> Any:
        """kombu's hook: turn a signature into a message that a Celery worker understands."""
        message = super().message_to_python(raw_message)  # type: ignore[misc]
        if message.content_type == SIGNATURE_CONTENT_TYPE and not message.errors:
            try:
                _to_protocol_2(message)
            except ProtocolError:
                message.errors.append(sys.exc_info())
        return message


class _PreparedTask(NamedTuple):
    """A published task between kombu's two hooks. ``as_kombu``: makes the message that kombu would send."""

    task: TaskMessage
    as_kombu: Callable[[], Any]


def _to_protocol_2(message: Any) -> None:
    """Turn a delivered signature into a message of Celery's protocol 2, in place. Raises ProtocolError."""
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
    redelivered = task.requeued or bool(message.delivery.redelivered)
    # Celery sends a retry by this route, so a retry returns to the queue of its message, and not to an exchange.
    queue = {"exchange": "", "routing_key": message.delivery.queue}
    message.delivery_info = {**message.delivery_info, **queue, "redelivered": redelivered}
    message.task = task
    message.reject = partial(_reject, message)


def _reject(message: Any, requeue: bool = False) -> None:
    """Return a message to its queue's tail, with a mark that tells the next worker that it was delivered before."""
    if message.acknowledged or not requeue:
        type(message).reject(message, requeue)
        return
    delivery = message.delivery
    requeued = msgspec.structs.replace(message.task, requeued=True)
    sig = to_wire(requeued, queue=message.signature.RoutingKey)
    publish = Publish(delivery.queue, encode(sig), 0, sig.Priority)
    message.channel.commit([Commit(publishes=(publish,), settle=Settle(delivery))])
    message._state = "REJECTED"


def _bridge_for(client: Any) -> Bridge:
    """The bridge of a connection's app. An app that has the settings but did not call :func:`.configure` joins here.

    Raises ConfigError if no Celery app has this broker.
    """
    found = client.transport_options.get("bridge")
    if isinstance(found, Bridge):
        return found
    for app in dict.fromkeys((get_current_app(), *_get_active_apps())):
        if app.conf.broker_transport in TRANSPORTS.values():
            theirs = app.connection_for_write()
            if all(
                getattr(theirs, name) == getattr(client, name)
                for name in ("hostname", "port", "virtual_host", "userid")
            ):
                bridge = bridge_of(app)
                client.transport_options = {**client.transport_options, **app.conf.broker_transport_options}
                return bridge
    raise ConfigError("no Celery app has these broker settings: gearmesh's transports for Celery need an app")


class _RedisChannel(_TaskHooks, RedisChannel):
    pass


class Transport(redis.Transport):
    """``broker_transport = "gearmesh.celery:Transport"`` for ``redis://`` and ``rediss://``."""

    Channel = _RedisChannel


class _AMQPChannel(_TaskHooks, AMQPChannel):
    Publisher = _AMQPTaskPublisher

    def basic_consume(self, queue: str = "", *args: Any, **kwargs: Any) -> str:
        if any(queue == each.name for each in self.tasks.bridge.celery.amqp.queues.consume_from.values()):
            # Celery has declared this queue, but without Machinery's binding: declare it again.
            self._declared.discard(queue)
        return str(super().basic_consume(queue, *args, **kwargs))


class _AMQPConnection(EventLoopConnection):
    Channel = _AMQPChannel


class AMQPTransport(amqp.Transport):
    """``broker_transport = "gearmesh.celery:AMQPTransport"`` for ``amqp://`` and ``amqps://``."""

    Connection = _AMQPConnection
    implements = amqp.Transport.implements.extend(asynchronous=True)

    def establish_connection(self) -> Any:
        """kombu's hook. The connection needs the options as the bridge has read them."""
        _bridge_for(self.client)
        return super().establish_connection()

    def register_with_event_loop(self, connection: EventLoopConnection, loop: Any) -> None:
        """kombu's hook: make the connection a part of the event loop."""
        EventLoopMembership(connection, loop, partial(self.drain_events, connection, timeout=0)).join()


class _MemoryChannel(_TaskHooks, memory.Channel):
    pass


class MemoryTransport(memory.Transport):
    """``broker_transport = "gearmesh.celery:MemoryTransport"`` for ``memory://``, in tests."""

    Channel = _MemoryChannel
