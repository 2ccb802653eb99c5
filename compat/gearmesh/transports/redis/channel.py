"""The Redis channel: kombu's channel with Machinery's layout, leases and Commits."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from queue import Empty
from typing import Any

from redis.exceptions import ResponseError

from gearmesh.interfaces.commit import Commit, Settle
from gearmesh.redis_client.connections import CONNECTION_ERRORS
from gearmesh.transports.queue_order import picker_of
from gearmesh.transports.redis.blocking_pop import BlockingPop
from gearmesh.transports.redis.connection import ConnectedChannel
from gearmesh.transports.redis.fetching import Fetcher
from gearmesh.transports.redis.history import History
from gearmesh.transports.redis.housekeeping import Housekeeping
from gearmesh.transports.redis.inspection import Inspector
from gearmesh.transports.redis.leases import Leases
from gearmesh.transports.redis.message import SIGNATURE_START, FetchedMessage, Message, to_item
from gearmesh.transports.redis.paging import Pager
from gearmesh.transports.redis.qos import QoS
from gearmesh.transports.redis.queue_faults import FAULTS
from gearmesh.transports.redis.reaper import Reaper

__all__ = ["Channel"]

log = logging.getLogger("gearmesh.redis")


#: Seconds for which a closing channel waits until the server closes its side of a connection.
CLOSE_TIMEOUT_S = 1.0


class Channel(ConnectedChannel):
    """Gives one thread access to Redis: a kombu channel with the verbs of
    :class:`gearmesh.interfaces.transport.Channel`.

    kombu forces this class; the objects that it holds do the work: a :class:`~.fetching.Fetcher`, the
    :class:`~.leases.Leases`, an :class:`~.inspection.Inspector`, its :class:`~.housekeeping.Housekeeping` and, for each
    queue, a :class:`~.blocking_pop.BlockingPop`.
    """

    QoS = QoS
    Message = Message
    do_restore = False
    priority_steps = (0,)
    supports_batch_publish = False  # kombu's batches are a pipeline of LPUSH
    counts_losses = True
    lists_delayed = lists_pending = keeps_order = True
    records_crashes = publishes_once = True
    dead_batch = 1000
    leases_class = Leases

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.blocking_pops: dict[str, BlockingPop] = {}
        super().__init__(*args, **kwargs)
        self.fetcher = Fetcher(self, picker_of(self.queue_order), unsure=self.unacked.used)
        self._pid = os.getpid()
        #: queue by fanout exchange; "" for a message that came while its consumer was cancelled
        self._fanout_to_queue = defaultdict[str, str](str)
        # Sockets, not a pipe: the number of a closed pipe may be another file's when another thread writes a wake-up.
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self.woken = False
        self.inspector = Inspector(self)
        self.pager = Pager(self, self.inspector)
        self.leases = self.leases_class(self)
        self.housekeeping = Housekeeping(self, self.leases, self.fetcher)
        #: for :meth:`reap`; it looks as often as consumers send heartbeats
        self._reaper = Reaper(self, self.leases, self.lease / 3)
        self._bind_verbs()
        try:
            # This connects at once. The poller knows this channel already, so it has to be closed if that fails.
            self.redis = self._open()
            self.connection.check_server(self.redis)
        except BaseException:
            self.close()
            raise

    def _bind_verbs(self) -> None:
        """Make the verbs of the parts methods of this channel."""
        leases, inspector = self.leases, self.inspector
        self.held, self.heartbeat, self.recover = leases.held, leases.heartbeat, leases.recover
        self.reserve = leases.reserve
        self.pending, self.delayed, self.parked = inspector.pending, inspector.delayed, inspector.parked
        self.dead_letters, self.take_dead = inspector.dead_letters, inspector.take_dead
        self.queues, self.count, self.consumers = inspector.queues, inspector.count, inspector.consumers
        self.purge, self.purge_delayed = inspector.purge, inspector.purge_delayed
        pager = self.pager
        self.pending_page, self.dead_page = pager.pending_page, pager.dead_page
        self.delayed_page, self.delayed_count = pager.delayed_page, pager.delayed_count
        self.walk_queues = pager.walk_queues
        history = History(self)
        self.add_history, self.history = history.add_history, history.history

    # -- kombu's side

    def basic_consume(
        self,
        queue: str,
        no_ack: bool,
        callback: Any,
        consumer_tag: str,
        *,
        bare: bool = False,
        **kwargs: Any,
    ) -> Any:
        if queue not in self._fanout_queues:
            self.keys(queue)
        result = super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
        self.no_ack.discard(queue)
        if no_ack:
            self.no_ack.add(queue)
        message_class = self.Message

        def on_item(payload: Any) -> None:
            callback(message_class(payload, channel=self))

        def on_bare_item(payload: FetchedMessage) -> None:
            callback(
                payload if payload.body.startswith(SIGNATURE_START) else message_class(payload, channel=self)
            )

        # kombu's own callback would keep each message in QoS, which keeps nothing here.
        self.connection._callbacks[queue] = on_bare_item if bare else on_item
        self.ready.add(queue)
        self.unacked.wake = self.wake
        self.connection.warn_of_eviction()
        return result

    def _basic_cancel(self, consumer_tag: str) -> Any:
        queue = self._tag_to_queue.get(consumer_tag)
        result = super()._basic_cancel(consumer_tag)
        if queue is None or self._closing or queue in self._active_queues:
            return result
        self.ready.discard(queue)
        self.no_ack.discard(queue)
        with contextlib.suppress(*CONNECTION_ERRORS):  # then a reaper returns the messages
            self._leave(queue)
        return result

    def _leave(self, queue: str) -> None:
        """Return the messages of ``queue`` that no callback has got, and leave its consumers unless we hold other
        messages of it."""
        pop = self.blocking_pops.pop(queue, None)
        if pop is not None:
            pop.end(time.monotonic() + CLOSE_TIMEOUT_S)
            self.handlers.pop(pop.type, None)
            pop.release()
            self.ready.discard(queue)
        if queue not in self.unacked.queues:
            return
        unseen = [item for item in self.fetcher.undelivered if item.delivery.queue == queue]
        if unseen:
            for item in unseen:
                self.fetcher.undelivered.remove(item)
            self.commit([Commit(settle=Settle(item.delivery, "head")) for item in unseen])
        self._return_arrived(queue)
        holds = any(delivery.queue == queue for delivery in list(self.unacked.open.values()))
        if self._own_consumer and not self.fetcher.unsure and not holds:
            self.leases.recover_queue(self.consumer, queue, lost=False)
            if not self.unacked.waiting(queue):
                self.unacked.queues.discard(queue)

    def return_arrived(self) -> None:
        """Return the messages that waits have brought since the last fetch: this channel has no room for them any more,
        and another consumer may have room."""
        for queue in list(self.arrived):
            try:
                self._return_arrived(queue)
            except FAULTS as exc:  # the next fetch takes them
                self.arrived.discard(queue)
                self.fetcher.put_off(queue, exc)

    def _return_arrived(self, queue: str) -> None:
        arrived = self.keys(queue).arrived(self.consumer)
        while self.redis.lmove(arrived, queue, "RIGHT", "LEFT") is not None:
            pass
        self.arrived.discard(queue)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        item = to_item(message, self)
        lives = getattr(self, "_expires", {}).get(queue)  # kombu 5.7
        with self.redis.pipeline(transaction=lives is not None) as pipe:
            pipe.rpush(queue, item)
            if lives is not None:
                pipe.pexpire(queue, lives)
            pipe.execute()
        self._replicas.wait(self.redis, queue)

    def _get(self, queue: str, timeout: float | None = None) -> FetchedMessage:
        taken = self.fetcher.fetch(queue, 1)
        if not taken:
            raise Empty
        return taken[0]

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        message = super().basic_get(queue, no_ack=no_ack, **kwargs)
        if message is not None and no_ack:
            message.ack()
        return message

    def settle_one(self, tag: int, how: Any) -> None:
        """Settle one delivery, for kombu's ack and reject."""
        delivery = self.unacked.open.get(tag)
        if delivery is not None:
            self.commit([Commit(settle=Settle(delivery, how))])

    def close(self) -> None:
        if self.closed:
            return
        self._closing = True
        ours = os.getpid() == self._pid  # a forked child must not touch the parent's connections and messages
        if ours:
            until = time.monotonic() + CLOSE_TIMEOUT_S
            for pop in self.blocking_pops.values():
                pop.end(until)
            if self._own_consumer and self.unacked.used:
                try:
                    self.put_back_all()
                except CONNECTION_ERRORS as exc:
                    log.debug("unacked messages stay on the server until a reaper returns them: %s", exc)
                except ResponseError as exc:
                    log.error("unacked messages cannot be returned to their queue: %s", exc)
        else:
            self.__dict__.pop("client", None)  # through it kombu would delete the parent's reply queues
        for item in self.fetcher.undelivered:  # the next channel of this consumer finds it on the server
            self.unacked.open.pop(item.delivery.id, None)
        self.fetcher.undelivered.clear()
        self.blocking_pops.clear()
        try:
            super().close()
        finally:
            self._wake_read.close()
            self._wake_write.close()

    def _after_fork(self) -> None:
        """In a forked child, leave the connections and deliveries to the parent."""
        super()._after_fork()
        for pop in self.blocking_pops.values():
            pop.connection.disconnect()
        self._drop_kept()
        self.blocking_pops.clear()
        self.fetcher.undelivered.clear()
        self._closing = True

    # -- the verbs

    def reap(self, queues: Sequence[str]) -> float:
        return self._reaper.look(queues)

    def take_reaped(self) -> dict[str, int]:
        return self.unacked.take_reaped()

    def put_back_all(self) -> int:
        """Return all deliveries that this channel's consumer holds, and take the consumer off the list."""
        self.fetcher.undelivered.clear()
        count = self.recover(self.consumer, sorted(self.unacked.queues))
        self.unacked.open.clear()
        return count

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # full: the channel wakes anyway; closed: it does not wait
            self._wake_write.send(b"\0")

    # -- for the poller

    @property
    def wake_fd(self) -> int:
        return self._wake_read.fileno()

    def on_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_read.recv(4096)
        self.woken = True

    def blocking_pop(self, queue: str) -> BlockingPop:
        pop = self.blocking_pops.get(queue)
        if pop is None:
            pop = self.blocking_pops[queue] = BlockingPop(self, self.fetcher, queue)
            handlers: dict[str, Callable[[], Any]] = self.handlers
            handlers[pop.type] = pop.read
        return pop
