"""The commit engine publishes all messages of the Commits, awaits their ids, and then settles the deliveries."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from gearmesh.batching import divided
from gearmesh.config import PubSubConfig
from gearmesh.errors import ConfigError, GearmeshError
from gearmesh.interfaces.commit import Commit, Outcome, Publish, Settle, Token
from gearmesh.transports.pubsub.api import (
    MAX_MESSAGE_BYTES,
    MAX_PUBLISH_MESSAGES,
    Call,
    PubSubAPI,
    PubSubUnavailable,
    failed_acks,
    start_all,
)
from gearmesh.transports.pubsub.message import (
    DEAD_AT,
    DEAD_REASON,
    DUPLICATE,
    NOT_BEFORE,
    QUEUE,
    copy_of,
    message_of,
)
from gearmesh.transports.pubsub.notes import MessageNotes
from gearmesh.transports.pubsub.receiver import MAX_LEASE_S, lease_seconds
from gearmesh.transports.pubsub.unacked import UNACKED_BY_CONSUMER, PubSubUnackedDeliveries, Unacked

__all__ = ["CommitEngine"]

log = logging.getLogger("gearmesh.pubsub")

#: Number of Publish requests at the same time.
MAX_PUBLISHES_IN_FLIGHT: Final = 8
#: Bytes that a message of gearmesh's takes at most in a request besides its data.
MESSAGE_OVERHEAD_BYTES: Final = 200
#: Seconds after which a message that went to the tail may come again.
TAIL_PAUSE_S: Final = 1


class CommitEngine:
    """Carries out Commits on Pub/Sub for one channel; see :class:`gearmesh.interfaces.transport.Channel`.

    Args:
        api: Pub/Sub.
        unacked: the unacked deliveries of the channel's consumer.
        notes: this process's notes about messages.
        config: names the delay topic, and the dead letter topic of subscriptions whose own policy names none.
        create: gets a topic's full name, and creates the missing topic with its subscription; returns False if the
            settings do not allow that.
    """

    def __init__(
        self,
        api: PubSubAPI,
        unacked: PubSubUnackedDeliveries,
        notes: MessageNotes,
        config: PubSubConfig,
        *,
        create: Callable[[str], bool],
    ) -> None:
        self._api = api
        self._unacked = unacked
        self._notes = notes
        self._dead_letter_topic = config.dead_letter_topic
        self._delay_topic = config.delay_topic
        self._create = create

    def is_lost(self, settle: Settle) -> bool:
        """Say whether the delivery's lease is known to have ended."""
        return self._find(settle) is None

    def mark_overdue(self, ids: Iterable[int]) -> None:
        """Do nothing: the supervisor of a killed process has the record of its deliveries, and settles them."""

    def commit(
        self, commits: Sequence[Commit], *, token: Token | None = None, again: bool = False
    ) -> list[Outcome]:
        """Publish, await the ids, settle. ``again``: mark the published messages as possible duplicates.

        ``token`` has no effect: Pub/Sub does not say which messages of a broken call it has.
        """
        outcomes: list[Outcome] = ["done"] * len(commits)
        outgoing: dict[str, list[Any]] = defaultdict(list)
        settles: list[tuple[int, Settle, Unacked]] = []
        taken: set[int] = set()
        now_ns = time.time_ns()
        for index, commit in enumerate(commits):
            settle = commit.settle
            held = None if settle is None else self._find(settle)
            if settle is not None and (held is None or held.delivery.id in taken):
                outcomes[index] = "lost"
                continue
            marked = again or commit.again
            for publish in commit.publishes:
                topic, message = self._message(publish, now_ns, marked=marked)
                outgoing[topic].append(message)
            if settle is None or held is None or settle.how == "keep":
                continue
            taken.add(held.delivery.id)
            settle, outcomes[index] = self._judged(settle, held)
            if settle.how == "dead" and (topic := self._dead_letters_of(held)):
                outgoing[topic].append(self._dead_letter(settle, held, now_ns))
            settles.append((index, settle, held))
        if outgoing:
            self.publish(outgoing)
        for index in self._settle(settles):
            outcomes[index] = "lost"
        return outcomes

    def settle_one(self, id: int, how: Any) -> None:
        """Carry out kombu's ack and reject."""
        delivery = self._unacked.open.get(id)
        if delivery is not None:
            self.commit([Commit(settle=Settle(delivery, how))])

    def put_back(self, some: Sequence[Unacked]) -> int:
        """Return deliveries for which no task was begun; return their number."""
        gone = self._unacked.forget([each.delivery.id for each in some])
        by_subscription: dict[str, list[str]] = defaultdict(list)
        for each in gone:
            by_subscription[each.subscription].append(each.ack_id)
        _await(call for name, ids in by_subscription.items() for call, _ in self._api.modify(name, ids, 0))
        return len(gone)

    # -- publishing

    def publish(self, outgoing: dict[str, list[Any]]) -> None:
        """Publish messages by topic, and await their ids.

        All messages of a request have the same ordering key, and the next request of a key waits for the one before: so
        a failed request stops those behind it, and the caller's repetition begins with it.
        """
        plain: list[tuple[str, Sequence[Any]]] = []
        keyed: list[list[tuple[str, Sequence[Any]]]] = []
        for topic, messages in outgoing.items():
            by_key: dict[str, list[Any]] = defaultdict(list)
            for message in messages:
                by_key[message.ordering_key].append(message)
            for key, some in by_key.items():
                requests = [(topic, chunk) for chunk in _chunks(some)]
                if key:
                    keyed.append(requests)
                else:
                    plain += requests
        self._send(plain)
        for turn in range(max(map(len, keyed), default=0)):
            self._send([requests[turn] for requests in keyed if turn < len(requests)])

    def _send(self, requests: Sequence[tuple[str, Sequence[Any]]]) -> None:
        for start in range(0, len(requests), MAX_PUBLISHES_IN_FLIGHT):
            some = requests[start : start + MAX_PUBLISHES_IN_FLIGHT]
            calls = [self._api.publish(topic, messages) for topic, messages in some]
            start_all(calls)
            for call, (topic, messages) in zip(calls, some, strict=True):
                try:
                    call.result()
                except ConfigError:  # the topic does not exist
                    if not self._create(topic):
                        raise
                    self._api.publish(topic, messages).result()

    def _message(self, publish: Publish, now_ns: int, *, marked: bool) -> tuple[str, Any]:
        attributes = {DUPLICATE: "1"} if marked else {}
        topic = self._api.addresses.topic(publish.queue)
        if publish.eta_ns > now_ns:
            attributes[NOT_BEFORE] = str(publish.eta_ns)
            if self._delay_topic:
                attributes[QUEUE] = publish.queue
                topic = self._api.addresses.topic(self._delay_topic)
        return topic, message_of(publish.body, attributes)

    # -- settling

    def _judged(self, settle: Settle, held: Unacked) -> tuple[Settle, Outcome]:
        """Decide if a message to park becomes a dead letter."""
        if settle.how != "park":
            return settle, "done"
        note = self._notes.of(held.subscription, held.message_id)
        limit = self._api.settings(held.subscription).max_attempts
        aged = note.parked_since and time.time() - note.parked_since >= settle.max_age
        if not aged and not (limit and held.attempt >= limit):
            return settle, "done"
        reason = f"no worker has registered the task {settle.reason}".rstrip()
        return Settle(settle.delivery, "dead", reason), "expired"

    def _dead_letters_of(self, held: Unacked) -> str:
        """Return the topic of the dead letters of a subscription; ``""``: there is none."""
        policy = self._api.settings(held.subscription).dead_letter_topic
        if policy:
            return policy
        return self._api.addresses.topic(self._dead_letter_topic) if self._dead_letter_topic else ""

    def _dead_letter(self, settle: Settle, held: Unacked, now_ns: int) -> Any:
        return copy_of(
            held,
            **{
                QUEUE: settle.delivery.queue,
                DEAD_REASON: settle.reason,
                DEAD_AT: str(now_ns // 1_000_000),
            },
        )

    def _find(self, settle: Settle) -> Unacked | None:
        delivery = settle.delivery
        record = self._unacked
        if delivery.consumer != record.consumer:
            record = UNACKED_BY_CONSUMER.get(delivery.consumer)
        return record.held.get(delivery.id)

    def _settle(self, settles: Sequence[tuple[int, Settle, Unacked]]) -> list[int]:
        """Acknowledge deliveries, or lease them for later; return the indexes of those that Pub/Sub says were lost."""
        acks: dict[str, list[str]] = defaultdict(list)
        leases: dict[tuple[str, int], list[str]] = defaultdict(list)
        by_ack_id: dict[tuple[str, str], int] = {}
        for index, settle, held in settles:
            by_ack_id[held.subscription, held.ack_id] = index
            seconds = self._pause(settle, held)
            if seconds is None:
                acks[held.subscription].append(held.ack_id)
            elif seconds or held.leased_until > time.monotonic():
                # If the lease has ended, Pub/Sub has the message back, and another consumer may have it.
                leases[held.subscription, seconds].append(held.ack_id)
            for each in self._unacked.behind(held) if seconds is not None else ():
                self._unacked.forget([each.delivery.id])
                leases[each.subscription, seconds or 0].append(each.ack_id)
        calls = [(name, call) for name, ids in acks.items() for call, _ in self._api.acknowledge(name, ids)]
        calls += [
            (name, call)
            for (name, seconds), ids in leases.items()
            for call, _ in self._api.modify(name, ids, seconds)
        ]
        start_all([call for _, call in calls])
        lost = [
            by_ack_id[name, ack_id]
            for name, call in calls
            for ack_id in _refused(call)
            if (name, ack_id) in by_ack_id
        ]
        by_record: dict[str, list[int]] = defaultdict(list)
        for _, settle, held in settles:
            by_record[held.delivery.consumer].append(held.delivery.id)
            if settle.how == "ack":
                self._notes.drop(held.subscription, held.message_id)
        for consumer, ids in by_record.items():
            own = consumer == self._unacked.consumer
            (self._unacked if own else UNACKED_BY_CONSUMER.get(consumer)).forget(ids)
        return lost

    def _pause(self, settle: Settle, held: Unacked) -> int | None:
        """Return the seconds for which to lease a message in order to settle it; None: acknowledge it."""
        how = settle.how
        if how == "ack":
            return None
        if how == "head":
            return 0
        if how == "dead" and self._dead_letters_of(held):
            return None
        note = self._notes.of(held.subscription, held.message_id)
        if how == "tail":
            note.returned += 1
            return TAIL_PAUSE_S
        if how == "park":
            pause = note.park()
            return lease_seconds(pause) if pause else 0
        if how == "later":
            note.until_ns = settle.at_ns
            return (
                lease_seconds((settle.at_ns - time.time_ns()) / 1e9) if settle.at_ns > time.time_ns() else 0
            )
        note.dead = True
        log.error(
            "a message of %s is a dead letter, and there is no dead letter topic: it stays in its subscription, and a "
            "worker pulls it every %d s until Pub/Sub deletes it; set gcppubsub.dead_letter_topic: %s",
            settle.delivery.queue,
            MAX_LEASE_S,
            settle.reason,
        )
        return MAX_LEASE_S


def _refused(call: Call) -> dict[str, str]:
    """Await a settling; return the ack ids that Pub/Sub says were lost.

    Raises:
        PubSubUnavailable: the caller may repeat the call.
    """
    try:
        call.result()
    except GearmeshError as exc:
        failed = failed_acks(exc.__cause__)
        if failed is None:
            raise
        if all(why.startswith("PERMANENT_") for why in failed.values()):
            return failed
        raise PubSubUnavailable(f"{call}: {exc}") from exc
    return {}


def _await(calls: Iterable[Call]) -> None:
    waiting = list(calls)
    start_all(waiting)
    for call in waiting:
        call.result()


def _chunks(messages: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return divided(messages, _size, max_items=MAX_PUBLISH_MESSAGES, max_bytes=MAX_MESSAGE_BYTES)


def _size(message: Any) -> int:
    return len(message.data) + MESSAGE_OVERHEAD_BYTES
