"""The memory transport's channel: kombu's interface, and gearmesh's batch verbs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any, Final

from kombu.message import Message
from kombu.transport import virtual

from gearmesh.interfaces.commit import Commit, Delivery, Outcome, Settle, Token
from gearmesh.interfaces.transport import SIGNATURE_CONTENT_TYPE
from gearmesh.transports.memory.broker import Broker, InProcessBackend
from gearmesh.transports.memory.messages import to_kombu, to_stored
from gearmesh.transports.memory.queue import Unacked
from gearmesh.transports.unacked import consumer_name

__all__ = ["Channel", "drain"]

#: Maximum number of messages that one fetch takes.
MAX_FETCH_MESSAGES: Final = 256
#: Seconds without a heartbeat after which a consumer counts as dead, if the option ``lease`` is not given.
DEFAULT_LEASE_S: Final = 30.0
#: Seconds of the longest single wait; the system refuses much longer ones.
MAX_WAIT_S: Final = 3600.0

Callback = Callable[[Message], object]


class QoS(virtual.QoS):  # type: ignore[misc]
    """Bounds the unacked deliveries of the channel; the broker itself records them."""

    def __init__(self, channel: Channel, prefetch_count: int = 0) -> None:
        self.channel = channel
        self.prefetch_count = prefetch_count or 0

    def room(self) -> int:
        """Count the messages that may be fetched now."""
        if not self.prefetch_count:
            return MAX_FETCH_MESSAGES
        return max(0, min(MAX_FETCH_MESSAGES, self.prefetch_count - len(self.channel.unacked)))

    def can_consume(self) -> bool:
        return self.room() > 0

    def append(self, message: Message, delivery_tag: str) -> None:
        """Do nothing: the broker recorded the delivery when the message was fetched."""

    def ack(self, delivery_tag: str) -> None:
        self.channel.settle(delivery_tag, "ack")

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        self.channel.settle(delivery_tag, "head" if requeue else "ack")

    def restore_unacked(self) -> list[Any]:
        self.channel.put_back()
        return []

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Do nothing: :meth:`Channel.close` itself decides which deliveries go back."""


class Channel(virtual.Channel):  # type: ignore[misc]
    """Gives one thread access to the broker.

    Transport options: ``lease`` (seconds), ``consumer`` (a name; by default each channel has its own),
    ``unacked`` (an :class:`~gearmesh.transports.unacked.UnackedDeliveries`, as for Redis: the channel takes its
    ``consumer`` name from it, and leaves unacked deliveries alone when it closes).
    """

    QoS = QoS
    do_restore = False
    supports_fanout = True
    counts_losses = lists_delayed = lists_pending = keeps_order = True
    records_crashes = publishes_once = True
    dead_batch = 1000
    #: Consumers get messages of a higher priority first, and those of the same priority in order.
    supports_priority = True
    max_priority = 255

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        options = connection.client.transport_options
        self.broker: Broker = connection.broker
        self._bind_verbs(self.broker)
        unacked = options.get("unacked")
        #: True: closing leaves unacked deliveries to the consumer's next channel.
        self._keeps_unacked = unacked is not None
        self.consumer: str = options.get("consumer") or getattr(unacked, "consumer", "") or consumer_name()
        #: This channel's unacked deliveries by id.
        self.unacked: dict[int, Unacked] = {}
        self._lease = float(options.get("lease", DEFAULT_LEASE_S))
        self._woken = False
        #: consumer tag -> (queue, no_ack, callback)
        self._callbacks: dict[str, tuple[str, bool, Callback]] = {}
        self._rounds = count()
        self._backend: InProcessBackend | None = None

    # -- gearmesh's verbs, described in gearmesh.interfaces.transport ---------------------------------

    def _bind_verbs(self, broker: Broker) -> None:
        """Make the broker's verbs methods of this channel."""
        self.heartbeat, self.held, self.recover = broker.heartbeat, broker.held, broker.recover
        self.reserve, self.queues, self.count = broker.reserve, broker.queues, broker.count
        self.pending, self.delayed, self.parked = broker.pending, broker.delayed, broker.parked
        self.purge, self.purge_delayed = broker.purge, broker.purge_delayed
        self.dead_letters, self.take_dead = broker.dead_letters, broker.take_dead
        self.pending_page, self.dead_page = broker.pending_page, broker.dead_page
        self.delayed_page, self.delayed_count = broker.delayed_page, broker.delayed_count
        self.walk_queues = broker.walk_queues

    def enlist(self, backend: Any) -> bool:
        """True for a memory backend: its states are then written under this broker's lock."""
        self._backend = backend if isinstance(backend, InProcessBackend) else None
        return self._backend is not None

    def commit(self, commits: Sequence[Commit], *, token: Token | None = None) -> list[Outcome]:
        return self.broker.commit(commits, token, self._backend)

    def reap(self, queues: Iterable[str]) -> float:
        return self.broker.reap(self.consumer, queues, self._lease)

    def wake(self) -> None:
        """End the wait of this channel's connection, or its next wait if it does not wait now."""
        with self.broker.changed:
            self._woken = True
            self.broker.changed.notify_all()

    def take_wake(self) -> bool:
        """True if :meth:`wake` was called since the last call."""
        woken, self._woken = self._woken, False
        return woken

    # -- receiving: see drain -------------------------------------------------------------------------

    def fetch(self) -> tuple[list[tuple[str, Unacked]], float]:
        """Fetch messages within the prefetch, in turn from each queue; send heartbeats, and reap.

        The caller holds the broker's lock.

        Returns (consumer tag, delivery) pairs, and the seconds until the next call is due even if nothing changes.
        """
        tags = list(self._callbacks)
        queues = {queue for queue, _, _ in self._callbacks.values()}
        next_s = self.reap(queues)
        for queue in map(self.broker.queue, queues):
            if self.consumer in queue.unacked:
                queue.beat(self.consumer)
                next_s = min(next_s, self._lease / 3)
        fetched: list[tuple[str, Unacked]] = []
        room = self.qos.room()
        start = next(self._rounds) % len(tags) if tags else 0
        for tag in tags[start:] + tags[:start]:
            if not room:
                break
            name, no_ack, _ = self._callbacks[tag]
            taken = self.broker.fetch(self.unacked, self.consumer, name, room, no_ack=no_ack)
            fetched += [(tag, unacked) for unacked in taken]
            room -= len(taken)
        return fetched, next_s

    def deliver(self, fetched: Sequence[tuple[str, Unacked]]) -> None:
        """Call the consumers, without the broker's lock.

        Messages of a cancelled consumer, and those behind one whose callback raises, go back to their queues.
        """
        for index, (tag, unacked) in enumerate(fetched):
            if tag not in self._callbacks:
                self.broker.put_back([unacked])
                continue
            try:
                self._callbacks[tag][2](to_kombu(unacked, self, tag))
            except BaseException:
                self.broker.put_back(rest for _, rest in fetched[index + 1 :])
                raise

    # -- kombu's verbs --------------------------------------------------------------------------------

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callback, consumer_tag: str, **kwargs: Any
    ) -> None:
        self._callbacks[consumer_tag] = (queue, no_ack, callback)
        self._consumers.add(consumer_tag)

    def basic_cancel(self, consumer_tag: str) -> None:
        self._callbacks.pop(consumer_tag, None)
        self._consumers.discard(consumer_tag)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Message | None:
        with self.broker.changed:
            self.broker.advance()
            taken = self.broker.fetch(self.unacked, self.consumer, queue, 1, no_ack=no_ack)
        return to_kombu(taken[0], self, "") if taken else None

    def settle(self, delivery_tag: str, how: Any) -> None:
        """Settle the delivery that has kombu's tag; do nothing if it was lost meanwhile."""
        number, _, queue = delivery_tag.partition(":")
        delivery = Delivery(queue=queue, consumer=self.consumer, id=int(number))
        self.broker.commit([Commit(settle=Settle(delivery, how))])

    def put_back(self) -> None:
        """Return all unacked deliveries to the heads of their queues."""
        self.broker.put_back(list(self.unacked.values()))

    def message_to_python(self, raw_message: Any) -> Message:
        return raw_message if isinstance(raw_message, Message) else super().message_to_python(raw_message)

    def close(self) -> None:
        """Cancel the consumers; unacked deliveries go back to the heads of their queues, unless the option ``unacked``
        was given."""
        if not self.closed:
            self._callbacks.clear()
            self._consumers.clear()
            if not self._keeps_unacked:
                self.put_back()
            self.broker.leave(self.consumer)
            super().close()

    def exchange_declare(self, *args: Any, **kwargs: Any) -> None:
        with self.broker.changed:
            super().exchange_declare(*args, **kwargs)

    def queue_bind(self, *args: Any, **kwargs: Any) -> None:
        with self.broker.changed:
            super().queue_bind(*args, **kwargs)

    def queue_unbind(self, *args: Any, **kwargs: Any) -> None:
        with self.broker.changed:
            super().queue_unbind(*args, **kwargs)

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any
    ) -> None:
        with self.broker.changed:
            if if_empty and self._size(queue):
                return
            self.broker.delete(queue)
            self.state.queue_bindings_delete(queue)
            for exchange in self.state.exchanges.values():
                exchange["table"][:] = [row for row in exchange["table"] if row[2] != queue]

    def after_reply_message_received(self, queue: str) -> None:
        """Do nothing: reply queues stay until they are deleted."""

    # -- methods that kombu's virtual channel calls -----------------------------------------------------

    def basic_publish(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        with self.broker.changed:
            super().basic_publish(message, exchange, routing_key, **kwargs)

    def _inplace_augment_message(self, message: dict[str, Any], exchange: str, routing_key: str) -> None:
        if message["content-type"] != SIGNATURE_CONTENT_TYPE:
            super()._inplace_augment_message(message, exchange, routing_key)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        self.broker.put(queue, to_stored(message, self._get_message_priority(message)))

    def _put_fanout(
        self, exchange: str, message: dict[str, Any], routing_key: str | None = None, **kwargs: Any
    ) -> None:
        for queue in self._lookup(exchange, routing_key):
            self._put(queue, message)

    def _queue_bind(self, *args: Any) -> None:
        """Do nothing: the exchange's table is the only record of a binding."""

    def _purge(self, queue: str) -> int:
        return self.purge(queue)

    def _size(self, queue: str) -> int:
        with self.broker.changed:
            return len(self.broker.queue(queue))

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        return self.broker.has(queue)

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        with self.broker.changed:
            self.broker.queue(queue)


def drain(broker: Broker, channels: Sequence[Channel], timeout: float | None) -> None:
    """Deliver messages to the consumers of some channels of a broker; wait if none can be delivered now.

    Args:
        timeout: seconds to wait; None waits without a limit, zero does not wait.

    Raises:
        TimeoutError: no message came, or a channel was woken.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        with broker.changed:
            now = time.monotonic()
            waits = [MAX_WAIT_S]
            due = broker.advance()
            if due is not None:
                waits.append(due)
            fetched = []
            for channel in list(channels):
                deliveries, next_s = channel.fetch()
                fetched += [(channel, deliveries)] if deliveries else []
                waits.append(next_s)
            if not fetched:
                if sum(channel.take_wake() for channel in channels):
                    raise TimeoutError("woken")
                if deadline is not None:
                    if now >= deadline:
                        raise TimeoutError("nothing came in time")
                    waits.append(deadline - now)
                broker.changed.wait(max(0.0, min(waits)))
                continue
        for index, (channel, deliveries) in enumerate(fetched):
            try:
                channel.deliver(deliveries)
            except BaseException:
                for _, rest in fetched[index + 1 :]:
                    broker.put_back(unacked for _, unacked in rest)
                raise
        return
