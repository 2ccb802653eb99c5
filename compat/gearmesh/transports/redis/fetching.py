"""Fetching, delivering, and adopting what came while nobody could hear of it."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgpack

from gearmesh.interfaces.commit import Commit, Delivery, Outcome, Settle, Token
from gearmesh.redis_client.commit_script import MAX_BYTES, MAX_ENTRIES
from gearmesh.redis_client.runner import run
from gearmesh.transports.queue_order import QueuePicker
from gearmesh.transports.redis.inspection import Inspector
from gearmesh.transports.redis.message import FetchedMessage
from gearmesh.transports.redis.queue_faults import FAULTS, QueueFaults

if TYPE_CHECKING:
    from gearmesh.transports.redis.housekeeping import Housekeeping

__all__ = ["Fetcher"]

log = logging.getLogger("gearmesh.redis")

#: Seconds between looks at a queue in which messages are left to others: a blocking wait would take them.
GRACE_POLL_INTERVAL_S = 0.01


class Fetcher(Inspector):
    """A part of :class:`~.channel.Channel`: from the server to the callbacks."""

    connection: Any
    qos: Any
    keeper: Housekeeping
    troubles: QueueFaults
    #: queues worth a fetch: not known to be empty
    ready: set[str]
    _no_ack: set[str]
    #: fetched, not yet handed to a callback
    _undelivered: deque[FetchedMessage]
    #: the server may hold what we don't know of
    _adopt: bool
    _order: QueuePicker

    @property
    def active_queues(self) -> list[str]:
        """The queues consumed from."""
        raise NotImplementedError

    def commit(self, commits: Sequence[Commit], *, token: Token | None = None) -> list[Outcome]:
        """See :class:`gearmesh.interfaces.transport.Channel`."""
        raise NotImplementedError

    def take(self) -> bool:
        """Fetch from the queues not known to be empty, and deliver; True if anything was delivered."""
        delivered = self._deliver()
        if self._undelivered:
            return delivered
        if self._adopt:
            delivered = self._adopt_unknown() or delivered
        for queue, share in self._order.turn(self.active_queues, self.qos.credit()):
            credit = self.qos.credit()
            if credit <= 0:
                break
            if queue not in self.ready:
                continue
            most = min(credit, share, MAX_ENTRIES)
            try:
                taken = self._fetch(queue, most)
            except FAULTS as exc:
                self.put_off(queue, exc)
                continue
            self.troubles.over(_taking(queue))
            if len(taken) < most:
                self.ready.discard(queue)
            self._undelivered.extend(taken)
            delivered = self._deliver() or delivered
            if self._undelivered:
                break
        return delivered

    def put_off(self, queue: str, exc: BaseException) -> None:
        """Take nothing from a queue for a while: Redis refuses it, and the others must not wait for that."""
        self.ready.discard(queue)
        self.keeper.look_again(queue, self.troubles.note(_taking(queue), exc))

    def _deliver(self) -> bool:
        """Hand out what was fetched; a callback that raises leaves the rest for the next time.

        Of what needs no acknowledgement one at a time, as other transports do: who waits for replies counts calls
        of ``drain_events``, and may leave the rest to others.
        """
        deliver = self.connection._deliver
        callbacks = self.connection._callbacks
        delivered = False
        while self._undelivered:  # a callback may cancel a consumer, which takes out what was for it
            item = self._undelivered[0]
            queue = item.delivery.queue
            if queue not in callbacks:
                self.commit([Commit(settle=Settle(item.delivery, "head"))])
                self._undelivered.popleft()
                continue
            single = queue in self._no_ack
            if single:
                self.commit([Commit(settle=Settle(item.delivery))])
            self._undelivered.popleft()
            deliver(item, queue)
            delivered = True
            if single:
                break
        return delivered

    def _fetch(self, queue: str, most: int) -> list[FetchedMessage]:
        ledger = self.ledger
        first = ledger.reserve(most)
        ledger.queues.add(queue)
        # Until its reply is here, the server may hold what we don't know of.
        self._adopt = True
        keys = self.keys(queue)
        consumer = self.consumer
        blob = run(
            self.redis,
            "fetch",
            [
                queue,
                keys.held(consumer),
                keys.arrived(consumer),
                keys.consumers,
                keys.recovered,
                keys.grace,
            ],
            [consumer, first, most, MAX_BYTES, keys.seen],
        )
        self._adopt = False
        bodies, lost, grace = msgpack.unpackb(blob, raw=True)
        if grace:
            self.keeper.look_again(queue, min(grace / 1000, GRACE_POLL_INTERVAL_S))
        taken = []
        for i, body in enumerate(bodies or ()):
            delivery = Delivery(
                queue=queue, consumer=consumer, id=first + i, **(_losses(lost[i]) if lost else {})
            )
            ledger.open[delivery.id] = delivery
            taken.append(FetchedMessage(body, delivery))
        return taken

    def _adopt_unknown(self) -> bool:
        """Deliver what the server holds under our name and we never heard of; True if there was any."""
        ledger = self.ledger
        for queue in sorted(ledger.queues):
            held = self.keys(queue).held(self.consumer)
            try:
                there = self.redis.hkeys(held)
            except FAULTS as exc:
                self.put_off(queue, exc)
                continue
            unknown = sorted(i for i in map(int, there) if i not in ledger.open)
            for start in range(0, len(unknown), MAX_ENTRIES):
                ids = unknown[start : start + MAX_ENTRIES]
                for id_, body in zip(ids, self.redis.hmget(held, ids), strict=True):
                    if body is None:  # settled meanwhile
                        continue
                    log.info("reclaimed a delivery whose reply was lost", extra={"queue": queue})
                    losses = b""
                    with contextlib.suppress(*FAULTS):  # a key of another type tells nothing
                        losses = self.redis.hget(self.keys(queue).recovered, hashlib.sha1(body).hexdigest())
                    delivery = Delivery(
                        queue=queue, consumer=self.consumer, id=id_, **_losses(losses or b"0")
                    )
                    ledger.open[id_] = delivery
                    self._undelivered.append(FetchedMessage(body, delivery))
        self._adopt = False
        return self._deliver()

    def check_held(self) -> bool:
        """Compare the server's books with ours now; see :meth:`_adopt_unknown`."""
        return self._adopt_unknown() if self.ledger.used else False


def _taking(queue: str) -> str:
    return f"no task can be taken from queue {queue!r}"


def _losses(text: bytes) -> dict[str, Any]:
    """What ``recovered`` says of a message, as fields of a Delivery; see ``recover.lua``."""
    lost, _, deaths = text.partition(b" ")
    return {"redelivered": int(lost), "crash_count": float(deaths) if deaths else None}
