"""The inspector looks at messages for people and supervisors: Pub/Sub shows one only by delivering it."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from math import inf
from typing import Any, Final

from gearmesh.errors import ConfigError, GearmeshError
from gearmesh.interfaces.commit import Delivery
from gearmesh.interfaces.transport import (
    DeadLetter,
    DelayedMessage,
    DeletedCallback,
    QueueCounts,
    RateRequest,
)
from gearmesh.transports.crash_counts import crash_count_after
from gearmesh.transports.pubsub.api import MAX_PULL_MESSAGES, PubSubAPI, types_of
from gearmesh.transports.pubsub.message import (
    CRASHES,
    DEAD_AT,
    DEAD_REASON,
    NOT_BEFORE,
    QUEUE,
    copy_of,
    number,
)
from gearmesh.transports.pubsub.notes import MessageNotes
from gearmesh.transports.pubsub.unacked import (
    UNACKED_BY_CONSUMER,
    PubSubUnackedDeliveries,
    Unacked,
    journal_of,
)
from gearmesh.transports.rate_limit import LocalRateLimiter

__all__ = ["Inspector"]

#: Empty answers in a row after which a subscription counts as empty: one may be empty though there are messages.
MAX_EMPTY_PULLS: Final = 2
#: Seconds for which a look leases messages; it extends the leases when a third of the time is over.
LOOK_LEASE_S: Final = 60
#: Seconds for which the lease of a delivery in a dead process's journal is assumed to last.
ASSUMED_LEASE_S: Final = 10.0
#: Seconds by which this machine's clock may be slow, so that a purge still deletes all messages that were there.
MAX_CLOCK_LAG_S: Final = 2
#: Pulls in a row that bring only newer messages, after which a purge takes it that no older one is left. One such pull
#: proves nothing, because Pub/Sub keeps no order.
MAX_NEWER_PULLS: Final = 5


class Inspector:
    """Counts, lists, purges and recovers messages.

    To list messages, it pulls them and then returns them all: meanwhile no worker gets them.

    Args:
        api: Pub/Sub.
        notes: this process's notes about messages.
        rates: this process's rate limiter for the broker.
        dead_letter_subscription: the subscription of the dead letter topic; ``""``: dead letters are not listed.
    """

    def __init__(
        self, api: PubSubAPI, notes: MessageNotes, rates: LocalRateLimiter, dead_letter_subscription: str = ""
    ) -> None:
        self._api = api
        self._notes = notes
        self._rates = rates
        self._dead_letter_subscription = dead_letter_subscription
        #: consumer -> the deliveries of a dead process, until they are recovered
        self._dead: dict[str, PubSubUnackedDeliveries] = {}

    # -- queues

    def queues(self) -> list[str]:
        raise GearmeshError("Pub/Sub does not show which topics are queues: name the queues")

    def count(self, queue: str) -> QueueCounts:
        """Return no numbers: Pub/Sub has them only in Cloud Monitoring (``num_undelivered_messages``)."""
        return QueueCounts(queue=queue, pending=None)

    def pending(self, queue: str, limit: int = 1000) -> list[bytes]:
        raise GearmeshError(
            "Pub/Sub shows no waiting message without delivering it; Cloud Monitoring counts them "
            "(num_undelivered_messages)"
        )

    def look(self, queue: str, limit: int = 1000) -> list[bytes]:
        """Pull up to ``limit`` messages that are due, in the order of their publication, and return them at once.

        For kombu programs that ask for the length of a queue. Each such delivery counts against a dead letter policy.
        """
        subscription = self._api.addresses.subscription(queue)
        found: list[Any] = []
        try:
            for some in self._pulled(subscription, limit, found):
                found += some
        finally:
            self._put_back(subscription, found)
        return [received.message.data for received in _in_order(found) if not _delayed(received)][:limit]

    def delayed(self, limit: int = 1000) -> list[DelayedMessage]:
        raise GearmeshError("Pub/Sub does not list delayed messages: they wait with the others")

    def purge(self, queue: str, gone: DeletedCallback | None = None) -> int:
        """Delete the messages that are due when the purge begins.

        Newer and delayed messages stay, and so do parked ones, because they are leased.
        """
        subscription = self._api.addresses.subscription(queue)
        until = time.time() + MAX_CLOCK_LAG_S
        kept: list[Any] = []
        count = newer_pulls = 0
        try:
            for some in self._pulled(subscription, None, kept):
                older = [received for received in some if _published_at(received.message) <= until]
                now = [received for received in older if not _delayed(received)]
                kept += [each for each in some if _published_at(each.message) > until or _delayed(each)]
                for call, _ in self._api.acknowledge(subscription, [received.ack_id for received in now]):
                    call.result()
                count += len(now)
                if gone is not None and now:
                    gone([received.message.data for received in now])
                newer_pulls = 0 if older else newer_pulls + 1
                if newer_pulls == MAX_NEWER_PULLS:
                    break
        finally:
            self._put_back(subscription, kept)
        return count

    def purge_delayed(self, queue: str, gone: DeletedCallback | None = None) -> int:
        raise GearmeshError("Pub/Sub does not list delayed messages: they wait with the others")

    def _pulled(self, subscription: str, limit: int | None, kept: Sequence[Any]) -> Iterator[list[Any]]:
        """Pull up to ``limit`` waiting messages (None: all), a request at a time. A missing subscription has none.

        ``kept``: the pulled messages that the caller has not acknowledged. This extends their leases: if the leases
        ended, the messages would come again, and the caller would never have pulled all.
        """
        left, empty, leased, extended_at = limit, 0, 0, time.monotonic()
        while left is None or left > 0:
            if time.monotonic() - extended_at > LOOK_LEASE_S / 3:
                leased, extended_at = 0, time.monotonic()
            self._lease(subscription, kept[leased:], LOOK_LEASE_S)
            leased = len(kept)
            count = MAX_PULL_MESSAGES if left is None else min(left, MAX_PULL_MESSAGES)
            try:
                some = list(self._api.pull_now(subscription, count).result().received_messages)
            except ConfigError:
                return
            if not some:
                empty += 1
                if empty == MAX_EMPTY_PULLS:
                    return
                continue
            empty = 0
            left = None if left is None else left - len(some)
            yield some

    def _put_back(self, subscription: str, pulled: Sequence[Any]) -> None:
        self._lease(subscription, pulled, 0)

    def _lease(self, subscription: str, pulled: Sequence[Any], seconds: int) -> None:
        for call, _ in self._api.modify(subscription, [received.ack_id for received in pulled], seconds):
            call.result()

    # -- dead letters

    def dead_letters(self, queue: str, limit: int = 1000) -> list[DeadLetter]:
        subscription = self._listed()
        found: list[Any] = []
        try:
            for some in self._pulled(subscription, None, found):
                found += some
        finally:
            self._put_back(subscription, found)
        of_queue = [received for received in found if _queue_of(received) == queue]
        return sorted(_letters(queue, of_queue), key=lambda letter: letter.last)[:limit]

    def take_dead(self, queue: str, ids: Sequence[str], *, retry: bool) -> int:
        subscription = self._listed()
        wanted, taken = set(ids), set[str]()
        rest: list[Any] = []
        try:
            for some in self._pulled(subscription, None, rest):
                mine = [
                    received
                    for received in some
                    if _queue_of(received) == queue and _id(received.message.data) in wanted
                ]
                keep = {id(received) for received in mine}
                rest += [received for received in some if id(received) not in keep]
                fresh = {_id(received.message.data): received.message for received in mine}
                again = [message for key, message in fresh.items() if key not in taken]
                if retry and again:
                    # The message is sent before the dead letter is deleted: it may come twice, and is never lost.
                    topic = self._api.addresses.topic(queue)
                    self._api.publish(topic, [_revived(message) for message in again]).result()
                taken |= fresh.keys()
                for call, _ in self._api.acknowledge(subscription, [received.ack_id for received in mine]):
                    call.result()
        finally:
            self._put_back(subscription, rest)
        return len(taken)

    def _listed(self) -> str:
        if not self._dead_letter_subscription:
            raise GearmeshError(
                "dead letters are not listed: set gcppubsub.dead_letter_subscription to a subscription of the dead "
                "letter topic"
            )
        return self._api.addresses.named_subscription(self._dead_letter_subscription)

    # -- consumers

    def heartbeat(self, consumer: str, queues: Sequence[str]) -> None:
        UNACKED_BY_CONSUMER.get(consumer).alive_at = time.monotonic()

    def reap(self, queues: Sequence[str]) -> float:
        """Find nothing: Pub/Sub itself gives the messages of a dead consumer to others when their leases end."""
        return inf

    def held(self, consumer: str, queues: Sequence[str]) -> list[tuple[Delivery, bytes]]:
        return [
            (each.delivery, each.body)
            for each in self._record(consumer).snapshot()
            if each.delivery.queue in queues
        ]

    def recover(
        self,
        consumer: str,
        queues: Sequence[str],
        *,
        crashed: bool = False,
        running: Collection[int] | None = None,
        certain: bool = True,
    ) -> int:
        """Recover deliveries: publish an isolated message anew, with its crash count, and return the others."""
        record = self._record(consumer)
        mine = [each for each in record.snapshot() if each.delivery.queue in queues]
        ran = [each for each in mine if running is None or each.delivery.id in running]
        if crashed and mine:
            self._publish_crashed(ran, alone=len(ran) == 1, certain=certain and running is not None)
        by_subscription: dict[str, list[str]] = defaultdict(list)
        for each in record.forget([each.delivery.id for each in mine]):
            if crashed:
                self._notes.of(each.subscription, each.message_id).lost = True
            if each.leased_until > time.monotonic():
                by_subscription[each.subscription].append(each.ack_id)
        for subscription, ack_ids in by_subscription.items():
            for call, _ in self._api.modify(subscription, ack_ids, 0):
                call.result()
        self._dead.pop(consumer, None)
        if record.journal is not None:
            record.journal.close()  # the next delivery begins a new one
        elif not record.held:
            journal_of(consumer).close()
        return len(mine)

    def _record(self, consumer: str) -> PubSubUnackedDeliveries:
        """Return the record of a consumer of this process, or of a dead consumer that has left a journal."""
        record = UNACKED_BY_CONSUMER.get(consumer)
        if record.journal is None and not record.held:
            found = journal_of(consumer).read()
            if found:
                for held in found:
                    held.received_at = time.monotonic()
                    held.leased_until = held.received_at + ASSUMED_LEASE_S
                record.add(found)
                self._dead[consumer] = record  # nothing else refers to it
        return record

    def _publish_crashed(self, ran: Sequence[Unacked], *, alone: bool, certain: bool) -> None:
        """Replace messages that ran in a dead process by copies with a crash count, since attributes cannot change."""
        for each in ran:
            counted = crash_count_after(
                each.delivery.crash_count,
                lost_before=bool(each.delivery.redelivered),
                alone=alone,
                certain=certain,
            )
            if counted is None:
                continue
            topic = self._api.settings(each.subscription).topic or self._api.addresses.topic(
                each.delivery.queue
            )
            self._api.publish(topic, [copy_of(each, **{CRASHES: str(round(counted * 4))})]).result()
            for call, _ in self._api.acknowledge(each.subscription, [each.ack_id]):
                call.result()
            each.leased_until = 0.0  # it is settled

    def reserve(self, requests: Sequence[RateRequest]) -> list[int]:
        return [self._rates.reserve(request) for request in requests]


def _in_order(found: Sequence[Any]) -> list[Any]:
    def key(received: Any) -> tuple[int, int, int, str]:
        at, id = received.message.publish_time, received.message.message_id
        return at.seconds, at.nanos, len(id), id

    return sorted(found, key=key)


def _delayed(received: Any) -> bool:
    return number(received.message.attributes.get(NOT_BEFORE)) > time.time_ns()


def _id(body: bytes) -> str:
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()


def _queue_of(received: Any) -> str:
    """Return the queue of a dead letter; if Pub/Sub itself has moved it there, return the subscription."""
    attributes = received.message.attributes
    return str(attributes.get(QUEUE) or attributes.get("CloudPubSubDeadLetterSourceSubscription") or "")


def _revived(message: Any) -> Any:
    """Make the message of a dead letter, as it was when it was first sent."""
    kept = {
        name: value
        for name, value in message.attributes.items()
        if name not in (QUEUE, DEAD_REASON, DEAD_AT) and not name.startswith("CloudPubSubDeadLetter")
    }
    return types_of("PubsubMessage")(data=message.data, attributes=kept, ordering_key=message.ordering_key)


def _letters(queue: str, found: Sequence[Any]) -> list[DeadLetter]:
    by_body: dict[bytes, list[Any]] = defaultdict(list)
    for received in found:
        by_body[received.message.data].append(received.message)
    letters = []
    died: Callable[[Any], float] = _died
    for body, copies in by_body.items():
        copies.sort(key=died)
        reason = (
            copies[-1].attributes.get(DEAD_REASON)
            or "Pub/Sub has delivered it as often as its subscription allows"
        )
        letters.append(
            DeadLetter(
                queue=queue,
                body=body,
                reason=reason,
                count=len(copies),
                first=died(copies[0]),
                last=died(copies[-1]),
            )
        )
    return letters


def _died(message: Any) -> float:
    at = number(message.attributes.get(DEAD_AT))
    return at / 1000 if at else _published_at(message)


def _published_at(message: Any) -> float:
    return float(message.publish_time.seconds + message.publish_time.nanos / 1e9)
