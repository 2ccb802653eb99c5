"""The memory transport's channel: kombu's interface, and gearmesh's batch verbs."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from kombu.message import Message
from kombu.transport import virtual

from gearmesh.interfaces.commit import Commit, Delivery, Outcome, Settle, Token
from gearmesh.interfaces.transport import (
    SIGNATURE_CONTENT_TYPE,
    DeadLetter,
    DelayedMessage,
    DeletedCallback,
    ParkedMessage,
    QueueCounts,
    RateRequest,
)
from gearmesh.transports.memory.broker import States
from gearmesh.transports.memory.messages import receive, to_item
from gearmesh.transports.memory.queue import ChannelUnacked, Unacked
from gearmesh.transports.memory.reaper import Reaper

if TYPE_CHECKING:
    from gearmesh.transports.memory.transport import Transport

__all__ = ["Channel"]

#: Messages fetched at once when prefetch is unlimited.
MAX_FETCH_MESSAGES: Final = 256
#: Seconds without a heartbeat after which a consumer is taken for dead, unless the option ``lease`` says so.
DEFAULT_LEASE_S: Final = 30.0

Callback = Callable[[Message], object]


class QoS(virtual.QoS):  # type: ignore[misc]
    """How many un-settled deliveries the channel may have; the broker itself knows which they are."""

    def __init__(self, channel: Channel, prefetch_count: int = 0) -> None:
        self.channel = channel
        self.prefetch_count = prefetch_count or 0

    def room(self) -> int:
        """How many more may be fetched now."""
        if not self.prefetch_count:
            return MAX_FETCH_MESSAGES
        return max(0, min(MAX_FETCH_MESSAGES, self.prefetch_count - len(self.channel.owner.held)))

    def can_consume(self) -> bool:
        return self.room() > 0

    def can_consume_max_estimate(self) -> int:
        return self.room()

    def append(self, message: Message, delivery_tag: str) -> None:
        """The lease was noted when the message was fetched."""

    def ack(self, delivery_tag: str) -> None:
        self.channel.settle(delivery_tag, "ack")

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        self.channel.settle(delivery_tag, "head" if requeue else "ack")

    def restore_unacked(self) -> list[Any]:
        self.channel.put_back()
        return []

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Closing calls this; the channel itself knows whether anything goes back then."""


class Channel(virtual.Channel):  # type: ignore[misc]
    """One thread's access to the broker.

    Transport options: ``lease`` (seconds), ``consumer`` (a name; by default each channel has its own),
    ``ledger`` (as for Redis: the channel takes its ``consumer`` name from it, and leaves un-settled
    deliveries alone when it closes).
    """

    QoS = QoS
    connection: Transport
    do_restore = False
    supports_fanout = True
    counts_losses = lists_delayed = True
    dead_batch = 1000
    #: Messages of a higher priority are taken first, those of the same in order.
    supports_priority = True
    max_priority = 255

    def __init__(self, connection: Transport, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        options = connection.client.transport_options
        self.broker = connection.broker
        ledger = options.get("ledger")
        self._leaves = ledger is not None
        name = options.get("consumer") or getattr(ledger, "consumer", "")
        self.consumer: str = name or f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:12]}"
        self.owner = ChannelUnacked()
        self._reaper = Reaper(float(options.get("lease", DEFAULT_LEASE_S)))
        self._woken = False
        self._callbacks: dict[str, tuple[str, bool, Callback]] = {}
        self._turns = count()
        self._states: States | None = None

    # -- gearmesh's verbs: see gearmesh.interfaces.transport.Channel ---------------------------------------

    def enlist(self, backend: Any) -> bool:
        """True for a memory backend: its states are then written under this broker's lock."""
        offer = getattr(backend, "states_in_process", None)
        self._states = offer() if offer is not None else None
        return self._states is not None

    def commit(self, commits: Sequence[Commit], *, token: Token | None = None) -> list[Outcome]:
        return self.broker.commit(commits, token, self._states)

    def heartbeat(self, consumer: str, queues: Sequence[str]) -> None:
        self.broker.heartbeat(consumer, queues)

    def watch(self, queues: Sequence[str]) -> float:
        with self.broker.changed:
            lines = [self.broker.line(queue) for queue in queues]
            return self._reaper.look(lines, self.consumer, time.monotonic())

    def held(self, consumer: str, queues: Sequence[str]) -> list[tuple[Delivery, bytes]]:
        return self.broker.held(consumer, queues)

    def recover(
        self,
        consumer: str,
        queues: Sequence[str],
        *,
        crashed: bool = False,
        running: Collection[int] | None = None,
        certain: bool = True,
    ) -> int:
        return self.broker.recover(consumer, queues, lost=crashed, running=running, certain=certain)

    def pending(self, queue: str, limit: int = 1000) -> list[bytes]:
        return self.broker.pending(queue, limit)

    def delayed(self, limit: int = 1000) -> list[DelayedMessage]:
        return self.broker.delayed(limit)

    def dead_letters(self, queue: str, limit: int = 1000) -> list[DeadLetter]:
        return self.broker.dead_letters(queue, limit)

    def queues(self) -> list[str]:
        return self.broker.queues()

    def count(self, queue: str) -> QueueCounts:
        return self.broker.count(queue)

    def parked(self, queue: str, limit: int) -> list[ParkedMessage]:
        return self.broker.parked(queue, limit)

    def purge(self, queue: str, gone: DeletedCallback | None = None) -> int:
        return _told(self.broker.purge(queue), gone)

    def purge_delayed(self, queue: str, gone: DeletedCallback | None = None) -> int:
        return _told(self.broker.purge_delayed(queue), gone)

    def reserve(self, requests: Sequence[RateRequest]) -> list[int]:
        return self.broker.reserve(requests)

    def take_dead(self, queue: str, ids: Sequence[str], *, retry: bool) -> int:
        return self.broker.take_dead(queue, ids, retry)

    def wake(self) -> None:
        """End the wait of this channel's connection; the next one, if it does not wait now."""
        with self.broker.changed:
            self._woken = True
            self.broker.changed.notify_all()

    # -- receiving: the transport calls these with the broker's lock held -----------------------------

    def look(self, now: float) -> tuple[list[tuple[str, Unacked]], float]:
        """Fetch what there is room for, in turn from each queue, and keep house.

        Returns (consumer tag, lease) pairs, and seconds until it must look again though nothing changed.
        """
        tags = list(self._callbacks)
        lines = {queue: self.broker.line(queue) for queue, _, _ in self._callbacks.values()}
        soonest = self._reaper.look(lines.values(), self.consumer, now)
        for line in lines.values():
            if self.consumer in line.held:
                line.beat(self.consumer)
                soonest = min(soonest, self._reaper.lease / 3)
        got: list[tuple[str, Unacked]] = []
        room = self.qos.room()
        start = next(self._turns) % len(tags) if tags else 0
        for tag in tags[start:] + tags[:start]:
            if not room:
                break
            queue, no_ack, _ = self._callbacks[tag]
            taken = self.broker.fetch(self.owner, self.consumer, queue, room, keep=not no_ack)
            got += [(tag, held) for held in taken]
            room -= len(taken)
        return got, soonest

    def hand_over(self, got: Sequence[tuple[str, Unacked]]) -> None:
        """Call the consumers (without the lock). What a failing or cancelled one did not see goes back."""
        for index, (tag, held) in enumerate(got):
            if tag not in self._callbacks:
                self.broker.put_back([held])
                continue
            try:
                self._callbacks[tag][2](receive(held, self, tag))
            except BaseException:
                self.broker.put_back(rest for _, rest in got[index + 1 :])
                raise

    def take_wake(self) -> bool:
        """True once after each :meth:`wake`."""
        woken, self._woken = self._woken, False
        return woken

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
            taken = self.broker.fetch(self.owner, self.consumer, queue, 1, keep=not no_ack)
        return receive(taken[0], self, "") if taken else None

    def settle(self, delivery_tag: str, how: Any) -> None:
        """Settle by kombu's tag. A delivery that was lost meanwhile is somebody else's: nothing happens."""
        number, _, queue = delivery_tag.partition(":")
        delivery = Delivery(queue=queue, consumer=self.consumer, id=int(number))
        self.broker.commit([Commit(settle=Settle(delivery, how))])

    def put_back(self) -> None:
        """Give up all un-settled deliveries."""
        self.broker.put_back(list(self.owner.held.values()))

    def message_to_python(self, raw_message: Any) -> Message:
        return raw_message if isinstance(raw_message, Message) else super().message_to_python(raw_message)

    def drain_events(self, timeout: float | None = None, callback: Any = None) -> None:
        self.connection.drain([self], timeout)

    def close(self) -> None:
        """Cancel the consumers; un-settled deliveries go back to the head of their queues."""
        if not self.closed:
            self._callbacks.clear()
            self._consumers.clear()
            if not self._leaves:
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
        """Reply queues stay until they are deleted."""

    # -- what kombu's virtual channel builds upon -------------------------------------------------------

    def basic_publish(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        with self.broker.changed:
            super().basic_publish(message, exchange, routing_key, **kwargs)

    def _inplace_augment_message(self, message: dict[str, Any], exchange: str, routing_key: str) -> None:
        if message["content-type"] != SIGNATURE_CONTENT_TYPE:
            super()._inplace_augment_message(message, exchange, routing_key)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        self.broker.put(queue, to_item(message, self._get_message_priority(message)))

    def _put_fanout(
        self, exchange: str, message: dict[str, Any], routing_key: str | None = None, **kwargs: Any
    ) -> None:
        for queue in self._lookup(exchange, routing_key):
            self._put(queue, message)

    def _queue_bind(self, *args: Any) -> None:
        """The exchange's table is all there is."""

    def _size(self, queue: str) -> int:
        with self.broker.changed:
            return len(self.broker.line(queue))

    def _purge(self, queue: str) -> int:
        return self.purge(queue)

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        return self.broker.has(queue)

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        with self.broker.changed:
            self.broker.line(queue)


def _told(bodies: list[bytes], gone: DeletedCallback | None) -> int:
    if gone is not None and bodies:
        gone(bodies)
    return len(bodies)
