"""Fetches and delivers messages, and reclaims deliveries whose fetch reply was lost."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections import deque
from typing import Any, Final

import msgpack
from redis.utils import HIREDIS_AVAILABLE

from gearmesh.interfaces.commit import Commit, Delivery, Settle
from gearmesh.redis_client.chunks import MAX_BYTES, MAX_ENTRIES, batches
from gearmesh.redis_client.runner import run
from gearmesh.transports.queue_order import QueuePicker
from gearmesh.transports.redis.connection import ConnectedChannel
from gearmesh.transports.redis.message import FetchedMessage
from gearmesh.transports.redis.queue_faults import FAULTS

__all__ = ["Fetcher"]

log = logging.getLogger("gearmesh.redis")

#: "1" if redis-py reads its replies in C. Its reader in Python is slower with a list of texts than with one packed
#: text.
READS_LISTS: Final = "1" if HIREDIS_AVAILABLE else "0"
#: Seconds between looks at a queue whose messages are left to others for a while: a blocking wait would take them.
GRACE_POLL_INTERVAL_S = 0.01


class Fetcher:
    """Fetches messages from the queues in turn and hands them to the consumers' callbacks.

    Attributes:
        undelivered: fetched messages that no callback has got yet.
        unsure: the server may hold deliveries for this consumer that no reply has named.
        put_off_until: by queue, the monotonic time before which the channel neither fetches from it nor waits on it.
    """

    def __init__(self, channel: ConnectedChannel, order: QueuePicker, *, unsure: bool) -> None:
        self._channel = channel
        self._order = order
        self.undelivered: deque[FetchedMessage] = deque()
        self.unsure = unsure
        self.put_off_until: dict[str, float] = {}

    def take(self) -> bool:
        """Fetch from the queues not known to be empty, and deliver; True if anything was delivered."""
        if self._deliver() or self.undelivered:
            return True
        delivered = self.unsure and self.reclaim_unknown()
        # Tasks that end meanwhile make room for the next turn. In this turn, a queue that comes later would get that
        # room.
        room = self._channel.qos.credit()
        for queue, share in self._order.turn(self._channel.active_queues, room):
            credit = min(room, self._channel.qos.credit())
            if credit <= 0:
                break
            if queue not in self._channel.ready:
                continue
            most = min(credit, share, MAX_ENTRIES)
            try:
                taken = self.fetch(queue, most)
            except FAULTS as exc:
                self.put_off(queue, exc)
                continue
            self._channel.faults.over(_taking(queue))
            full = len(taken) < most and sum(len(each.body) for each in taken) >= MAX_BYTES
            if len(taken) < most and not full:
                self._channel.ready.discard(queue)
            room -= len(taken)
            self.undelivered.extend(taken)
            delivered = self._deliver() or delivered
            if self.undelivered or full:  # a queue whose messages are large goes on with the next turn
                break
        return delivered

    def put_off(self, queue: str, exc: BaseException) -> None:
        """Take nothing from a queue for a while, because Redis refuses it, so that the other queues go on."""
        self._channel.ready.discard(queue)
        self._pause(queue, self._channel.faults.note(_taking(queue), exc))

    def _pause(self, queue: str, seconds: float) -> None:
        self.put_off_until[queue] = time.monotonic() + seconds

    def end_pauses(self, now: float) -> None:
        """Fetch again from the queues whose pause is over."""
        for queue in [queue for queue, due in self.put_off_until.items() if now >= due]:
            del self.put_off_until[queue]
            self._channel.ready.add(queue)

    def _deliver(self) -> bool:
        """Hand out fetched messages; a callback that raises leaves the rest for the next time.

        Messages that need no acknowledgement go out one at a time, as in other transports: a caller that waits for
        replies counts calls of ``drain_events``, and may leave the remaining messages to other consumers.
        """
        callbacks = self._channel.connection._callbacks
        no_ack = self._channel.no_ack
        delivered = False
        while self.undelivered:  # a callback may cancel a consumer, which removes its messages
            item = self.undelivered[0]
            queue = item.delivery.queue
            callback = callbacks.get(queue)
            if callback is None:
                self._channel.commit([Commit(settle=Settle(item.delivery, "head"))])
                self.undelivered.popleft()
                continue
            single = queue in no_ack
            if single:
                self._channel.commit([Commit(settle=Settle(item.delivery))])
            self.undelivered.popleft()
            callback(item)
            delivered = True
            if single:
                break
        return delivered

    def fetch(self, queue: str, most: int) -> list[FetchedMessage]:
        """Take up to ``most`` messages from a queue, under a lease each."""
        unacked = self._channel.unacked
        first = unacked.reserve(most)
        unacked.queues.add(queue)
        # Until the reply is here, the server may hold deliveries that this process does not know.
        self.unsure = True
        self._channel.arrived.discard(queue)
        keys = self._channel.keys(queue)
        consumer = self._channel.consumer
        blob = run(
            self._channel.redis,
            "fetch",
            [queue, keys.held(consumer), keys.arrived(consumer), keys.consumers, keys.recovered, keys.grace],
            [consumer, first, most, MAX_BYTES, keys.seen, READS_LISTS],
        )
        self.unsure = False
        plain: tuple[Any, Any, Any] = (blob, False, 0)
        bodies, lost, grace = plain if isinstance(blob, list) else msgpack.unpackb(blob, raw=True)
        if grace:
            self._pause(queue, min(grace / 1000, GRACE_POLL_INTERVAL_S))
        taken = []
        held = unacked.open
        for id_, body in enumerate(bodies or (), first):
            if lost:
                delivery = Delivery(queue=queue, consumer=consumer, id=id_, **_losses(lost[id_ - first]))
            else:  # nearly always; quicker, since every task passes here
                delivery = Delivery(queue=queue, consumer=consumer, id=id_)
            held[id_] = delivery
            taken.append(FetchedMessage(body, delivery))
        return taken

    def reclaim_unknown(self) -> bool:
        """Deliver the messages that the server holds for this consumer and no reply has named; True if any was
        delivered."""
        unacked = self._channel.unacked
        for queue in sorted(unacked.queues):
            held = self._channel.keys(queue).held(self._channel.consumer)
            try:
                there = self._channel.redis.hkeys(held)
            except FAULTS as exc:
                self.put_off(queue, exc)
                continue
            unknown = sorted(i for i in map(int, there) if i not in unacked.open)
            for ids in batches(unknown):
                for id_, body in zip(ids, self._channel.redis.hmget(held, ids), strict=True):
                    if body is None:  # settled meanwhile
                        continue
                    log.info("reclaimed a delivery whose reply was lost", extra={"queue": queue})
                    losses = b""
                    with contextlib.suppress(*FAULTS):  # a key of another type has no losses
                        losses = self._channel.redis.hget(
                            self._channel.keys(queue).recovered, hashlib.sha1(body).hexdigest()
                        )
                    delivery = Delivery(
                        queue=queue, consumer=self._channel.consumer, id=id_, **_losses(losses or b"0")
                    )
                    unacked.open[id_] = delivery
                    self.undelivered.append(FetchedMessage(body, delivery))
        self.unsure = False
        return self._deliver()


def _taking(queue: str) -> str:
    return f"no task can be taken from queue {queue!r}"


def _losses(text: bytes) -> dict[str, Any]:
    """Read the losses of a message from its text in ``recovered``, as fields of a Delivery; see ``recover.lua``."""
    lost, _, deaths = text.partition(b" ")
    return {"redelivered": int(lost), "crash_count": float(deaths) if deaths else None}
