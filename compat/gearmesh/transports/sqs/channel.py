"""The SQS channel: kombu's interface, and gearmesh's batch verbs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from kombu.message import Message
from kombu.transport import virtual

from gearmesh.interfaces.commit import Commit, Settle
from gearmesh.interfaces.transport import SIGNATURE_CONTENT_TYPE
from gearmesh.transports.queue_order import picker_of
from gearmesh.transports.rate_limit import RATE_LIMITERS
from gearmesh.transports.sqs.commit_engine import CommitEngine
from gearmesh.transports.sqs.errors import QueueMissing, SQSRefused, SQSUnavailable
from gearmesh.transports.sqs.inspection import Inspector
from gearmesh.transports.sqs.message import OutgoingMessage, text_of, to_kombu, to_stored
from gearmesh.transports.sqs.receiver import Receiver, ReceiveSettings, Subscription, receive
from gearmesh.transports.sqs.sender import send
from gearmesh.transports.sqs.unacked import UNACKED_BY_CONSUMER, SQSUnackedDeliveries, Unacked, journal_of
from gearmesh.transports.sqs.visibility import VisibilityThread
from gearmesh.transports.unacked import consumer_name

__all__ = ["Channel"]

#: Seconds without a sign of life after which a consumer counts as dead, if the option ``lease`` is not given.
DEFAULT_LEASE_S = 30.0
#: Seconds that a receive waits for messages if nothing else is set; SQS allows no more.
MAX_WAIT_S = 20

Callback = Callable[[Message], object]


class Channel(virtual.Channel):  # type: ignore[misc]
    """Gives one thread access to SQS: a kombu channel with the verbs of :class:`gearmesh.interfaces.transport.Channel`.

    kombu forces this class; the objects that it holds do the work: a :class:`~.receiver.Receiver`, a
    :class:`~.commit_engine.CommitEngine` and an :class:`~.inspection.Inspector`.

    Transport options: ``sqs`` (Machinery's settings), ``consumer`` (a name; by default each channel has its own),
    ``unacked`` (a :class:`SQSUnackedDeliveries` to go on with: its deliveries stay unacked when the channel closes),
    ``lease`` (seconds without a drain or a heartbeat after which the deliveries go back), ``heartbeats`` (False: the
    consumer lives as long as its process), ``queue_order`` (see
    :data:`~gearmesh.transports.queue_order.QueueOrder`).
    """

    do_restore = False
    supports_fanout = True
    #: SQS counts receives, and so also messages that were returned and not lost.
    counts_losses = False
    lists_delayed = lists_pending = keeps_order = publishes_once = False
    records_crashes = True
    dead_batch = 1_000_000

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        options = connection.client.transport_options
        unacked = options.get("unacked")
        #: True: closing leaves unacked deliveries to the consumer's next channel.
        self._keeps_unacked = unacked is not None
        self.unacked: SQSUnackedDeliveries = (
            UNACKED_BY_CONSUMER.get(options.get("consumer") or consumer_name())
            if unacked is None
            else unacked
        )
        self.consumer: str = self.unacked.consumer
        self._lease = (
            float(options.get("lease", DEFAULT_LEASE_S)) if options.get("heartbeats", True) else None
        )
        self._requests = connection.requests
        self._deleter = connection.deleter
        self._changed = connection.changed
        settings = connection.settings
        self._settings = ReceiveSettings(
            min(settings.receive_wait_time_seconds or MAX_WAIT_S, MAX_WAIT_S),
            int(settings.receive_visibility_timeout or 0),
        )
        picker = picker_of(options.get("queue_order", "fair"))
        self.receiver = Receiver(self._requests, self.unacked, self._changed, self._settings, picker)
        self._engine = CommitEngine(self._requests, self._deleter)
        self._bind_verbs(
            self._engine, Inspector(self._requests, RATE_LIMITERS.get(connection.target.queue_url("")))
        )
        self._woken = False

    def _bind_verbs(self, engine: CommitEngine, inspector: Inspector) -> None:
        """Make the verbs of the parts methods of this channel."""
        self.commit, self.is_lost = engine.commit, engine.is_lost
        self.heartbeat, self.held, self.recover = inspector.heartbeat, inspector.held, inspector.recover
        self.reap, self.reserve = inspector.reap, inspector.reserve
        self.pending, self.delayed = inspector.pending, inspector.delayed
        self.queues, self.count = inspector.queues, inspector.count
        self.purge, self.purge_delayed = inspector.purge, inspector.purge_delayed
        self.dead_letters, self.take_dead = inspector.dead_letters, inspector.take_dead

    def enlist(self, backend: Any) -> bool:
        return False

    def wake(self) -> None:
        """End the wait of this channel's connection, or its next wait if it does not wait now."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def take_wake(self) -> bool:
        """True if :meth:`wake` was called since the last call."""
        woken, self._woken = self._woken, False
        return woken

    # -- receiving: see Transport.drain_events

    def take(self) -> list[tuple[Subscription, Unacked]]:
        """Return the messages that may be delivered now. The caller holds the connection's lock."""
        self.unacked.alive_at = self.unacked.asked_at = time.monotonic()
        return self.receiver.take()

    def deliver(self, taken: Sequence[tuple[Subscription, Unacked]]) -> None:
        """Call the consumers, without the lock. Messages behind one whose callback raises are delivered later."""
        for index, (subscription, held) in enumerate(taken):
            if subscription.closed:
                self.receiver.untake([(subscription, held)])
                continue
            if subscription.no_ack:
                self._deleter.add([held])
            try:
                subscription.callback(
                    to_kombu(held.delivery, held.body, held.attributes, self, subscription.tag)
                )
            except BaseException:
                self.receiver.untake(taken[index + 1 :])
                raise

    # -- kombu's verbs

    def basic_qos(
        self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False, **kwargs: Any
    ) -> None:
        """Bound the deliveries that all consumers of this channel together may have; 0: any number."""
        self.receiver.set_prefetch(prefetch_count)

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callback, consumer_tag: str, **kwargs: Any
    ) -> None:
        """Begin to consume from a queue.

        Raises:
            SQSUnavailable: SQS does not answer, or there is no such queue now.
        """
        try:
            found = self._requests.queues.get(queue)
        except SQSRefused as exc:  # the consumer tries again: an operator may create the queue
            raise SQSUnavailable(str(exc)) from exc
        self.unacked.wake = self.wake
        self._guard()
        self._consumers.add(consumer_tag)
        self.receiver.subscribe(Subscription(consumer_tag, found, no_ack, callback))

    def basic_cancel(self, consumer_tag: str) -> None:
        self._consumers.discard(consumer_tag)
        self.receiver.cancel(consumer_tag)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Message | None:
        """Receive one message; None if none waits, or there is no such queue."""
        found = self._requests.queues.find(queue)
        if found is None:
            return None
        settings = ReceiveSettings(0, self._settings.visibility_s)
        came = receive(
            self._requests, found, self.consumer, count=1, settings=settings, new_id=self.unacked.new_id
        )
        if not came:
            return None
        if no_ack:
            self._deleter.add(came)
        else:
            self.unacked.alive_at = time.monotonic()
            self.unacked.add(came[0])
            self._guard()
        return to_kombu(came[0].delivery, came[0].body, came[0].attributes, self, "")

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        self._settle(delivery_tag, "ack")

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        self._settle(delivery_tag, "head" if requeue else "ack")

    def basic_recover(self, requeue: bool = False) -> None:
        self._engine.put_back(list(self.unacked.held.values()))

    def _settle(self, delivery_tag: str, how: Any) -> None:
        """Settle the delivery that has kombu's tag; do nothing if it was lost meanwhile."""
        held = self.unacked.held.get(int(delivery_tag))
        if held is not None:
            self._engine.commit([Commit(settle=Settle(held.delivery, how))])

    def message_to_python(self, raw_message: Any) -> Message:
        return raw_message if isinstance(raw_message, Message) else super().message_to_python(raw_message)

    def close(self) -> None:
        """Cancel the consumers; unacked deliveries go back, unless the option ``unacked`` was given."""
        if self.closed:
            return
        self.receiver.close()
        self._consumers.clear()
        with suppress(SQSUnavailable, SQSRefused):
            if not self._keeps_unacked:
                self._engine.put_back(list(self.unacked.held.values()))
            self._deleter.flush()
        super().close()

    def _guard(self) -> None:
        """Start the thread that keeps this consumer's deliveries hidden from others."""
        if self._lease is None and self.unacked.journal is None:
            self.unacked.journal = journal_of(self.consumer)
        if self.unacked.guard is None:
            guard = VisibilityThread(self.unacked, self._requests, self._lease)
            self.unacked.guard = guard
            guard.start()

    # -- methods that kombu's virtual channel calls

    def _inplace_augment_message(self, message: dict[str, Any], exchange: str, routing_key: str) -> None:
        if message["content-type"] != SIGNATURE_CONTENT_TYPE:
            super()._inplace_augment_message(message, exchange, routing_key)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        body, marks = to_stored(message)
        text, attributes = text_of(body)
        found = self._requests.queues.get(queue)
        send(self._requests, [OutgoingMessage(found, text, attributes | marks)], lambda message: None)

    def _put_fanout(
        self, exchange: str, message: dict[str, Any], routing_key: str | None = None, **kwargs: Any
    ) -> None:
        for queue in self._lookup(exchange, routing_key):
            self._put(queue, message)

    def _queue_bind(self, *args: Any) -> None:
        """Do nothing: the exchange's table in this process is the only record of a binding."""

    def _purge(self, queue: str) -> int:
        return self.purge(queue)

    def _size(self, queue: str) -> int:
        return self.count(queue).pending or 0

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        return self._requests.queues.find(queue) is not None

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        self._requests.queues.get(queue)

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        found = self._requests.queues.find(queue)
        if found is not None:
            with suppress(QueueMissing):
                self._requests.call("delete_queue", QueueUrl=found.url)
        self._requests.queues.forget(queue)

    def after_reply_message_received(self, queue: str) -> None:
        """Do nothing: reply queues stay until they are deleted."""
