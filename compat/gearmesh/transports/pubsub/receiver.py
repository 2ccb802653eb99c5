"""The receiver decides which pulled messages a consumer gets now, and leaves the others with Pub/Sub for longer."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

from gearmesh.interfaces.commit import Delivery
from gearmesh.transports.pubsub.api import PubSubAPI, types_of
from gearmesh.transports.pubsub.message import CRASHES, DUPLICATE, NOT_BEFORE, number
from gearmesh.transports.pubsub.notes import MessageNotes, Note
from gearmesh.transports.pubsub.unacked import PubSubUnackedDeliveries, Unacked

__all__ = ["MAX_LEASE_S", "Receiver", "lease_seconds"]

#: Seconds of the longest lease that Pub/Sub allows.
MAX_LEASE_S: Final = 600
#: Seconds after its publication from which on a consumer may have lost a message: Pub/Sub's shortest lease is 10 s, and
#: clocks differ.
MIN_LOST_AGE_S: Final = 5.0
#: The receiver publishes a delayed message anew if it has fewer deliveries left than this before the subscription's
#: policy makes it a dead letter, or if half the time is over for which Pub/Sub keeps it.
MIN_ATTEMPTS_LEFT: Final = 3


def lease_seconds(seconds: float) -> int:
    """Round a wait up to whole seconds, 1 to 600, for which Pub/Sub can lease a message."""
    return max(1, min(MAX_LEASE_S, -int(-seconds // 1)))


class Receiver:
    """Turns pulled messages into deliveries of a consumer.

    It leases a message that is not due until then, for ten minutes at most, and forgets it: the message costs no
    memory, no prefetch and no heartbeats. When the lease ends, Pub/Sub gives it to any worker, also if this one has
    died.

    Args:
        api: Pub/Sub.
        unacked: records the deliveries.
        notes: this process's notes about messages.
    """

    def __init__(self, api: PubSubAPI, unacked: PubSubUnackedDeliveries, notes: MessageNotes) -> None:
        self._api = api
        self._unacked = unacked
        self._notes = notes

    def receive(self, queue: str, subscription: str, pulled: Sequence[Any]) -> list[Unacked]:
        """Record the messages that are due as deliveries, in the order of their publication; lease the others."""
        settings = self._api.settings(subscription)
        now, now_ns = time.monotonic(), time.time_ns()
        until = now + settings.ack_deadline_s
        due: list[Unacked] = []
        early: dict[int, list[str]] = defaultdict(list)
        consumer, new_id = self._unacked.consumer, self._unacked.new_id
        for at_ns, _, _, received in sorted(map(_by_publication, pulled), key=_FIRST_THREE):
            message = received.message
            attributes = dict(message.attributes)
            message_id = message.message_id
            note = self._notes.find(subscription, message_id)
            due_ns = note.until_ns if note is not None else 0
            if NOT_BEFORE in attributes:
                due_ns = max(due_ns, number(attributes[NOT_BEFORE]))
            if note is not None and note.dead:
                early[MAX_LEASE_S].append(received.ack_id)
                continue
            if due_ns > now_ns:
                if not self.renewed(subscription, received):
                    early[lease_seconds((due_ns - now_ns) / 1e9)].append(received.ack_id)
                continue
            attempt = received.delivery_attempt
            delivery = Delivery(
                queue=queue,
                consumer=consumer,
                id=new_id(),
                redelivered=_losses(attempt, attributes, note, now_ns - at_ns),
                crash_count=number(attributes[CRASHES]) / 4 if CRASHES in attributes else None,
                duplicate_attempt=1 + (note.returned if note else 0) if DUPLICATE in attributes else 0,
            )
            due.append(
                Unacked(
                    delivery,
                    message.data,
                    attributes,
                    message.ordering_key,
                    subscription,
                    message_id,
                    received.ack_id,
                    now,
                    until,
                    attempt,
                )
            )
        self._unacked.add(due)
        self.lease(subscription, early)
        return due

    def lease(self, subscription: str, ack_ids: dict[int, list[str]]) -> None:
        """Lease messages, listed by seconds, but await no answers: if a lease fails, its messages only come sooner."""
        for seconds, ids in ack_ids.items():
            self._api.modify_unawaited(subscription, ids, seconds)

    def put_back(self, subscription: str, pulled: Iterable[Any]) -> None:
        """Return pulled messages at once; no consumer wants them any more."""
        ids = [received.ack_id for received in pulled]
        if ids:
            self._api.modify_unawaited(subscription, ids, 0)

    def renewed(self, subscription: str, received: Any) -> bool:
        """Replace a delayed message by a copy, if Pub/Sub would soon dead-letter it, or delete it for its age.

        The copy begins with no deliveries and no age. False: the message may wait on.
        """
        settings = self._api.settings(subscription)
        few = settings.max_attempts and settings.max_attempts - received.delivery_attempt < MIN_ATTEMPTS_LEFT
        old = time.time_ns() - _published_ns(received.message) > settings.retention_s * 1e9 / 2
        if not settings.topic.startswith("projects/") or not (few or old):  # it may be "_deleted-topic_"
            return False
        message = received.message
        copy = types_of("PubsubMessage")(
            data=message.data, attributes=message.attributes, ordering_key=message.ordering_key
        )
        self._api.publish(settings.topic, [copy]).result()
        for call, _ in self._api.acknowledge(subscription, [received.ack_id]):
            call.result()
        return True


def _published_ns(message: Any) -> int:
    at = message.publish_time
    return int(at.seconds * 10**9 + at.nanos)


def _by_publication(received: Any) -> tuple[int, int, str, Any]:
    message = received.message
    id = message.message_id
    return _published_ns(message), len(id), id, received  # of one moment, shorter ids are older


_FIRST_THREE: Final = itemgetter(0, 1, 2)


def _losses(attempt: int, attributes: dict[str, str], note: Note | None, age_ns: int) -> int:
    """Return how often consumers may have lost the message before; 0: never."""
    if attempt:  # the subscription has a dead letter policy, so Pub/Sub counts deliveries
        return max(0, attempt - 1)
    old = age_ns > MIN_LOST_AGE_S * 1e9
    return int(old or CRASHES in attributes or DUPLICATE in attributes or (note is not None and note.lost))
