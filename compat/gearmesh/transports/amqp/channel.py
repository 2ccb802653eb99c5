"""The AMQP channel: py-amqp's, with Machinery's queues, deliveries that outlive it, and Commits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from amqp import spec
from amqp.exceptions import NotFound
from kombu.transport import pyamqp

from gearmesh.config import AMQPConfig
from gearmesh.transports.amqp.committing import Committing
from gearmesh.transports.amqp.desk import Desk
from gearmesh.transports.amqp.frames import Delivered, read_properties
from gearmesh.transports.amqp.inlet import PAUSE, Arrived, Inlet
from gearmesh.transports.amqp.ledger import LEDGERS, Held, Ledger
from gearmesh.transports.amqp.message import Message
from gearmesh.transports.amqp.sender import is_repeated
from gearmesh.transports.amqp.suspects import Suspects
from gearmesh.transports.amqp.tags import Tags
from gearmesh.transports.amqp.topology import Topology
from gearmesh.transports.ledger import consumer_name
from gearmesh.transports.order import order_of
from gearmesh.transports.rates import RATES
from gearmesh.wire.commit import Delivery
from gearmesh.wire.names import DEFAULT_QUEUE

if TYPE_CHECKING:
    from gearmesh.transports.amqp.link import Link

__all__ = ["Channel"]

log = logging.getLogger("gearmesh.amqp")

#: Seconds for which what came beyond the prefetch of several queues together may wait here.
OVERDRAFT: Final = 0.1
#: Seconds before a lost queue is looked for again.
MISSED: Final = 1.0
#: Kinds of properties that are kept decoded.
_KINDS: Final = 256


class Channel(Committing, Desk, pyamqp.Channel):  # type: ignore[misc]
    """See :class:`gearmesh.transports.base.Channel` for the verbs.

    Transport options: ``consumer`` (name), ``ledger`` (a :class:`Ledger` to go on with: what it holds stays held when
    the channel closes, until it is settled), ``lease`` (seconds without a drain or a heartbeat after which what is
    held goes back), ``heartbeats`` (False: the consumer lives as long as its process), ``amqp`` (Machinery's
    settings), ``default_queue``, ``queue_order`` (see :data:`~gearmesh.transports.order.QueueOrder`),
    ``patience`` (seconds to wait for RabbitMQ's answers).
    """

    connection: Link
    Message = Message

    def __init__(self, connection: Link, channel_id: int | None = None, **kwargs: Any) -> None:
        options = connection.options
        own = "ledger" not in options
        self.ledger: Ledger = (
            LEDGERS.get(options.get("consumer") or consumer_name()) if own else options["ledger"]
        )
        self.consumer: str = self.ledger.consumer
        #: it is this channel's alone: what it holds goes back with it
        self.own_ledger = own
        self.lease = float(options.get("lease", 30.0))
        self.heartbeats = bool(options.get("heartbeats", True))
        config = options.get("amqp") or AMQPConfig()
        self.supports_priority = "x-max-priority" in config.queue_declare_args
        self.topology = Topology(config, options.get("default_queue", DEFAULT_QUEUE))
        self.link = connection
        self.inlets: dict[str, Inlet] = {}
        self.suspects = Suspects(self)
        self.rates = RATES.get(f"{connection.host}/{connection.virtual_host}")
        #: messages that may be handed out and not settled; 0: any number
        self.wanted = 0
        self.woken = False
        self._order = order_of(options.get("queue_order", "fair"))
        self._sources: dict[str, Inlet] = {}
        self._declared: set[str] = set()
        self._kinds: dict[bytes, dict[str, Any]] = {}
        self._calls = 0
        #: when consumers have to be begun (again), by the monotonic clock
        self._begin_at = float("inf")
        #: there is more than may be handed out; since when
        self._over_since = 0.0
        self._paused = False
        #: a queue may bring more than it is allowed to now
        self._uneven = False
        super().__init__(connection, channel_id, auto_decode=False, **kwargs)
        self.tags = Tags(connection, self.channel_id)
        connection.consuming.append(self)

    # -- kombu's side

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
        return super().prepare_message(
            body, priority, content_type, content_encoding, headers, properties or {}, **kwargs
        )

    def message_to_python(self, raw_message: Any) -> Any:
        return raw_message if isinstance(raw_message, Message) else super().message_to_python(raw_message)

    def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = True,
        exclusive: bool = False,
        auto_delete: bool = False,
        nowait: bool = False,
        arguments: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """As py-amqp's; durable and kept where nothing else is said, as Machinery's queues are."""
        with self.link.lock:
            answer = super().queue_declare(
                queue, passive, durable, exclusive, auto_delete, nowait, arguments, **kwargs
            )
        if not passive:
            self._declared.add(queue or answer.queue)
        return answer

    def basic_qos(
        self, prefetch_size: int, prefetch_count: int, a_global: bool = False, **kwargs: Any
    ) -> None:
        """How many deliveries all consumers of this channel together may have; 0: any number. Takes effect at once."""
        with self.link.lock:
            self.wanted = prefetch_count
            for inlet in self.inlets.values():
                inlet.adjust(self.wanted)

    def basic_consume(
        self,
        queue: str = "",
        no_ack: bool = False,
        consumer_tag: str = "",
        callback: Callable[[Any], Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> str:
        """Consume. A queue that was not declared through this channel is declared and bound as Machinery's."""
        with self.link.lock:
            tag = consumer_tag or consumer_name()
            ours = queue not in self._declared
            inlet = Inlet(self, queue, tag, callback or (lambda message: None), no_ack, arguments, ours=ours)
            if no_ack:
                self.no_ack_consumers.add(tag)
            self._prepare(inlet)
            self.inlets[tag] = inlet
            self.ledger.wake = self.wake
            self.ledger.alive_at = time.monotonic()
            inlet.adjust(self.wanted)
            self.link.keeper.start()
        return tag

    def basic_cancel(self, consumer_tag: str, nowait: bool = False, **kwargs: Any) -> None:
        """End a consumer; what it was sent and has not seen goes back."""
        with self.link.lock:
            inlet = self.inlets.pop(consumer_tag, None)
            self.no_ack_consumers.discard(consumer_tag)
            if inlet is None:
                return
            if not self.usable:
                self._forget_waiting(inlet)
                return
            inlet.cancel()
            self._return_waiting(inlet)
            self.barrier()

    def basic_get(self, queue: str = "", no_ack: bool = False, **kwargs: Any) -> Any:
        """One message, or None if there is none or no such queue."""
        with self.link.lock:
            if self.link.declarer(self.topology).count(queue) is None:
                return None
            raw = super().basic_get(queue, no_ack)
            if raw is None:
                return None
            info, body = raw.delivery_info, bytes(raw.body)
            delivered = Delivered(
                "", info["delivery_tag"], info["redelivered"], info["exchange"], info["routing_key"]
            )
            if no_ack:
                return Message(self, delivered, raw.properties, body, None)
            held = self._hold(delivered, raw.properties, body, queue)
            return Message(self, delivered, raw.properties, body, held.delivery)

    def basic_ack(self, delivery_tag: int, multiple: bool = False, **kwargs: Any) -> None:
        self.settle_one(delivery_tag, "ack")

    def basic_reject(self, delivery_tag: int, requeue: bool = False, **kwargs: Any) -> None:
        self.settle_one(delivery_tag, "head" if requeue else "ack")

    def basic_publish(self, *args: Any, **kwargs: Any) -> Any:
        with self.link.lock:
            return super().basic_publish(*args, **kwargs)

    def wait(self, *args: Any, **kwargs: Any) -> Any:
        with self.link.lock:
            self._calls += 1
            try:
                return super().wait(*args, **kwargs)
            finally:
                self._calls -= 1

    def close(self, *args: Any, **kwargs: Any) -> None:
        """End the consumers. What is held goes back, unless it belongs to a ledger that outlives this channel."""
        with self.link.lock:
            if not self.usable:
                self.gone()
                return
            if self.retire():
                return
            try:
                super().close(*args, **kwargs)
            finally:
                self.gone()

    def retire(self) -> bool:
        """End the consumers; True if the connection has to stay for what is held through this channel."""
        for tag in list(self.inlets):
            self.basic_cancel(tag)
        if self.own_ledger or not self.held_here():
            return False
        self.link.linger(self)
        return True

    def collect(self) -> None:
        self.gone()
        super().collect()

    def gone(self, *, revived: bool = False) -> None:
        """RabbitMQ has closed the channel, or we have: all it had brought goes back to the queues.

        What a ledger that outlives the channel still needs, or the channel itself once it is open again, is adrift.
        """
        tags, self.tags = self.tags, Tags(self.link, self.tags.channel_id)
        tags.open = False
        self._sources.clear()
        for inlet in self.inlets.values():
            self._forget_waiting(inlet)
            inlet.lost()
        for held in [held for held in list(self.ledger.held.values()) if held.tags is tags]:
            if self.own_ledger and not revived:
                self.ledger.forget(held.delivery.id)
            else:
                self.ledger.set_adrift(held)
        if self in self.link.consuming and not self.usable:
            self.link.consuming.remove(self)

    @property
    def usable(self) -> bool:
        """The channel is open, as far as one knows."""
        return bool(
            self.connection is not None and self.is_open and self.link.connected and not self.link.broken
        )

    def held_here(self) -> bool:
        """Something is held that came through this channel."""
        tags = self.tags
        return any(held.tags is tags for held in list(self.ledger.held.values()))

    # -- RabbitMQ's side; all under the link's lock

    def arrived(self, delivered: Delivered, raw: bytes, body: bytes) -> None:
        """A delivery is complete."""
        properties = self._kinds.get(raw)
        if properties is None:
            properties = read_properties(raw)
            if len(self._kinds) < _KINDS:
                self._kinds[raw] = properties
        inlet = self._sources.get(delivered.consumer_tag)
        if inlet is not None and inlet.no_ack:
            inlet.waiting.append(Arrived(delivered, properties, body, None))
            return
        if inlet is None:
            self.tags.delivered(delivered.tag)
            self.link.send(self.tags.settle((), (delivered.tag,)))
            return
        inlet.unsettled[delivered.consumer_tag] = inlet.unsettled.get(delivered.consumer_tag, 0) + 1
        if delivered.redelivered:
            held = self.ledger.adopt(body, self.tags, delivered.tag, delivered.consumer_tag)
            if held is not None:
                self.tags.delivered(delivered.tag)
                log.info("a message of %s that is still held here came again and is adopted", inlet.queue)
                return
        held = self._hold(delivered, properties, body, inlet.queue)
        inlet.waiting.append(Arrived(delivered, properties, body, held))
        if delivered.redelivered:
            self.suspects.doubt(held)

    def _hold(self, delivered: Delivered, properties: Mapping[str, Any], body: bytes, queue: str) -> Held:
        self.tags.delivered(delivered.tag)
        delivery = Delivery(
            queue=queue,
            consumer=self.consumer,
            id=self.ledger.new_id(body),
            redelivered=1 if delivered.redelivered or is_repeated(properties) else 0,
        )
        held = Held(delivery, body, properties, self.tags, delivered.tag, delivered.consumer_tag)
        self.ledger.add(held)
        return held

    def _on_close(self, reply_code: int, reply_text: str, class_id: int, method_id: int) -> None:
        """RabbitMQ closes the channel: because of what we did, or a delivery was not acknowledged in time."""
        held = self.held_here()
        self.link.drop_partial(self.channel_id)
        self.gone(revived=True)
        if self.inlets:
            self._begin_at = time.monotonic()
        if held or not self._calls:
            queues = ", ".join(sorted({inlet.queue for inlet in self.inlets.values()})) or "no queue"
            log.error("RabbitMQ closed the channel that reads %s: %s; it is opened again", queues, reply_text)
        if self._calls:
            super()._on_close(
                reply_code, reply_text, class_id, method_id
            )  # raises, after it has opened it again
        self.send_method(spec.Channel.CloseOk)
        self._do_revive()

    def _on_basic_cancel(self, consumer_tag: str) -> None:
        """The queue is gone."""
        inlet = self._sources.pop(consumer_tag, None)
        if inlet is None:
            return
        inlet.dropped(consumer_tag)
        if inlet.queue not in {other.queue for other in self._sources.values()}:
            log.error(
                "queue %s was deleted while it was read here%s",
                inlet.queue,
                ": it is declared again" * inlet.ours,
            )
        self.link.declarer(self.topology).forget(inlet.queue)
        self._begin_at = min(self._begin_at, time.monotonic())

    def add_source(self, inlet: Inlet, tag: str, prefetch: int, arguments: Mapping[str, Any]) -> None:
        """Begin a consumer on RabbitMQ's side."""
        self._sources[tag] = inlet
        if not inlet.no_ack:
            super().basic_qos(0, prefetch, False)
        super().basic_consume(inlet.queue, tag, no_ack=inlet.no_ack, arguments=dict(arguments) or None)

    def cancel_source(self, tag: str) -> None:
        """End one. What it still brings before RabbitMQ knows goes through :meth:`arrived` as long as it is asked."""
        super().basic_cancel(tag)
        self._sources.pop(tag, None)

    def barrier(self) -> None:
        """Wait until RabbitMQ has done all that this channel was told."""
        super().basic_qos(0, 0, False)

    def _prepare(self, inlet: Inlet) -> None:
        if inlet.ours:
            self.link.declarer(self.topology).ensure(self.topology.source(inlet.queue))

    # -- handing out

    def deliver(self, now: float) -> bool:
        """Hand to the consumers what they may have; True if that was anything. Called by the owning thread."""
        self.ledger.alive_at = now
        delivered = False
        with self.link.lock:
            if now >= self._begin_at:
                self._begin()
            self.suspects.settle(now)
        for inlet, item in self._next():
            delivered = True
            held = item.held
            message = Message(
                self, item.delivered, item.properties, item.body, held.delivery if held is not None else None
            )
            inlet.callback(message)
            if held is None:
                break  # who waits for replies counts calls of drain_events, and may leave the rest to others
        with self.link.lock:
            self._balance(now)
        return delivered

    def due(self) -> float:
        """When :meth:`deliver` has something to do though nothing came; by the monotonic clock."""
        if any(self._ready(inlet) for inlet in list(self.inlets.values())):
            return 0.0
        over = self._over_since + OVERDRAFT if self._over_since else float("inf")
        uneven = time.monotonic() + PAUSE if self._uneven else float("inf")
        return min(self._begin_at, over, uneven, self.suspects.due())

    def _next(self) -> Iterator[tuple[Inlet, Arrived]]:
        """What may be handed out now, one by one: a callback may cancel a consumer, or raise."""
        while True:
            with self.link.lock:
                by_queue = {inlet.queue: inlet for inlet in self.inlets.values() if inlet.waiting}
                if not by_queue:
                    return
                room = self._room()
                if room <= 0 and not any(inlet.no_ack for inlet in by_queue.values()):
                    return
                turn = self._order.turn(list(by_queue), max(room, 1)) if len(by_queue) > 1 else None
            shares = turn if turn is not None else [(queue, 1 << 30) for queue in by_queue]
            some = False
            for queue, share in shares:
                inlet = by_queue[queue]
                for _ in range(share):
                    item = self._pop(inlet)
                    if item is None:
                        break
                    some = True
                    yield inlet, item
            if not some:
                return

    def _pop(self, inlet: Inlet) -> Arrived | None:
        with self.link.lock:
            return inlet.waiting.popleft() if self._ready(inlet) else None

    def _ready(self, inlet: Inlet) -> bool:
        """Something of it may be handed out."""
        if not inlet.waiting or not (inlet.no_ack or self._room() > 0):
            return False
        held = inlet.waiting[0].held
        return held is None or not self.suspects.doubtful(held)

    def _room(self) -> int:
        if not self.wanted:
            return 1 << 30
        waiting = sum(len(inlet.waiting) for inlet in self.inlets.values() if not inlet.no_ack)
        return self.wanted - (len(self.ledger.held) - waiting)

    def _begin(self) -> None:
        """Consume again where consumers were lost."""
        self._begin_at = float("inf")
        for inlet in list(self.inlets.values()):
            if inlet.sources or self._paused:
                continue
            try:
                self._prepare(inlet)
                inlet.adjust(self.wanted)
            except NotFound as exc:  # somebody else's queue: it may come back
                log.error("queue %s can't be read: %s", inlet.queue, exc)
                self._begin_at = time.monotonic() + MISSED

    def _balance(self, now: float) -> None:
        """Take neither more nor less than is wanted of all queues together."""
        if not self.usable:
            return
        waiting = [inlet for inlet in self.inlets.values() if inlet.waiting and not inlet.no_ack]
        room = self._room()
        if waiting and room <= 0 and len(self.inlets) > 1:
            if not self._over_since:
                self._over_since = now
            elif now - self._over_since >= OVERDRAFT:
                # They may begin sooner elsewhere.
                self._over_since = 0.0
                self._paused = True
                for inlet in self.inlets.values():
                    if not inlet.no_ack:
                        inlet.cancel()
                        self._return_waiting(inlet)
            return
        self._over_since = 0.0
        if self._paused and room <= 0:
            return
        self._paused = False
        if self._begin_at == float("inf"):
            self._uneven = False
            for inlet in self.inlets.values():
                if not inlet.content(self.wanted):
                    inlet.adjust(self.wanted)
                    self._uneven = self._uneven or (inlet.room(self.wanted) > 0)

    def _forget_waiting(self, inlet: Inlet) -> None:
        """What nobody has seen is not adrift, but gone: adopted, nobody would ever settle it."""
        for item in inlet.waiting:
            if item.held is not None:
                self.ledger.forget(item.held.delivery.id)
        inlet.waiting.clear()

    def _return_waiting(self, inlet: Inlet) -> None:
        items = [item.held for item in inlet.waiting if item.held is not None]
        inlet.waiting.clear()
        self.put_back(items)

    def settled(self, held: Held) -> None:
        """A delivery that came through this channel is settled."""
        inlet = self._inlet_of(held.source)
        if inlet is not None:
            inlet.settled(held.source)

    def _inlet_of(self, source: str) -> Inlet | None:
        return self.inlets.get(source.rpartition(".")[0])

    def give_back(self) -> int:
        """Put back all that is held here, and let nothing more come until the next drain. Any thread."""
        with self.link.lock:
            for inlet in self.inlets.values():
                inlet.cancel()
                inlet.waiting.clear()
            tags = self.tags
            count = self.put_back([held for held in list(self.ledger.held.values()) if held.tags is tags])
            self.barrier()
            if self.inlets:
                self._begin_at = 0.0
            return count

    def wake(self) -> None:
        self.woken = True
        self.link.wake()
