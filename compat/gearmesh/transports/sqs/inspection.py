"""Counts, lists, purges and recovers messages, for people and supervisors."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from math import inf
from typing import Final

from gearmesh.errors import GearmeshError
from gearmesh.interfaces.commit import Delivery
from gearmesh.interfaces.transport import (
    DeadLetter,
    DelayedMessage,
    DeletedCallback,
    QueueCounts,
    RateRequest,
)
from gearmesh.transports.crash_counts import crash_count_after
from gearmesh.transports.rate_limit import LocalRateLimiter
from gearmesh.transports.sqs.client import SQSClient
from gearmesh.transports.sqs.commit_engine import MessageReturner
from gearmesh.transports.sqs.deleter import delete
from gearmesh.transports.sqs.errors import SQSRefused, SQSUnavailable
from gearmesh.transports.sqs.message import MAX_HIDDEN_S, OutgoingMessage, deduplication_id, text_of
from gearmesh.transports.sqs.queues import SQSQueue
from gearmesh.transports.sqs.receiver import ReceiveSettings, receive
from gearmesh.transports.sqs.sender import send
from gearmesh.transports.sqs.unacked import UNACKED_BY_CONSUMER, SQSUnackedDeliveries, Unacked, journal_of
from gearmesh.transports.sqs.visibility import hide
from gearmesh.wire.names import SQS_QUEUE, SQS_REASON

__all__ = ["Inspector"]

#: Seconds for which messages are hidden from other consumers while the inspector reads or purges them.
READ_HIDDEN_S: Final = 60
#: Number of dead letters that are read in a second at least: if there are many, they are hidden for longer.
MIN_LETTERS_PER_S: Final = 50
#: Seconds that a request for these messages waits. With 0, SQS asks only some of its servers.
READ_WAIT_S: Final = 1
#: Seconds for which a dead process's messages are assumed to be hidden still, unless half their timeout is shorter.
ASSUMED_HIDDEN_S: Final = 10.0
#: Seconds by which the Date of an answer may be earlier than SQS's clock: it has no fractions, and servers keep it for
#: a moment.
MAX_DATE_AGE_S: Final = 2
#: Requests in a row that bring only newer messages, after which a purge takes it that no older one is left. One such
#: request proves nothing, because a standard queue keeps the order of its messages only roughly.
MAX_NEWER_READS: Final = 5
_COUNTS: Final = "ApproximateNumberOfMessages"


class Inspector:
    """Reads and changes queues for people, and recovers the deliveries of dead consumers for supervisors.

    SQS shows a message only by delivering it, and counts each delivery. So the inspector only counts waiting messages.
    It reads dead letters, since their queue has no consumer.

    Args:
        client: sends the requests.
        rates: the rate limits of this process.
    """

    def __init__(self, client: SQSClient, rates: LocalRateLimiter) -> None:
        self._client = client
        self._rates = rates
        #: the records of dead consumers, which nothing else refers to
        self._dead_records: dict[str, SQSUnackedDeliveries] = {}

    # -- consumers

    def heartbeat(self, consumer: str, queues: Sequence[str]) -> None:
        """Record a sign of life of a consumer of this process. Another process hides its deliveries by itself."""
        UNACKED_BY_CONSUMER.get(consumer).alive_at = time.monotonic()

    def reap(self, queues: Sequence[str]) -> float:
        """Return infinity: SQS itself shows the messages of dead consumers again."""
        return float("inf")

    def held(self, consumer: str, queues: Sequence[str]) -> list[tuple[Delivery, bytes]]:
        """List the unacked deliveries of a consumer of this process, or of a dead consumer that has left a journal."""
        return [(each.delivery, each.body) for each in _of(self._record(consumer), queues)]

    def recover(
        self,
        consumer: str,
        queues: Sequence[str],
        *,
        crashed: bool = False,
        running: Collection[int] | None = None,
        certain: bool = True,
    ) -> int:
        """Recover deliveries: send an isolated message anew, with its crash count, and return the others."""
        record = self._record(consumer)
        many = _of(record, queues)
        lost: list[Unacked] = []
        if many:
            record.silence()
            ran = [each for each in many if running is None or each.delivery.id in running]
            counted = _crash_counts(ran, certain=certain and running is not None) if crashed else []
            replaced = {id(held) for held, _ in counted}
            returner = MessageReturner(self._client)
            lost = returner.replace_crashed(counted)
            lost += returner.give_back([(held, 0.0) for held in many if id(held) not in replaced])
        self._dead_records.pop(consumer, None)
        if record.journal is None:
            journal_of(consumer).close()
        return len(many) - len(lost)

    def _record(self, consumer: str) -> SQSUnackedDeliveries:
        """Return the record of a consumer of this process, or of a dead consumer that has left a journal."""
        record = UNACKED_BY_CONSUMER.get(consumer)
        if record.journal is None and not record.held and (found := journal_of(consumer).read()):
            for held in found:
                # A process extends each timeout before half of it is over.
                held.visible_at = time.monotonic() + min(ASSUMED_HIDDEN_S, held.hidden_s / 2)
                record.add(held)
            self._dead_records[consumer] = record  # nothing else refers to it
        return record

    def reserve(self, requests: Sequence[RateRequest]) -> list[int]:
        return [self._rates.reserve(request) for request in requests]

    # -- people

    def queues(self) -> list[str]:
        raise GearmeshError("SQS does not show which of an account's queues hold tasks: name the queues")

    def count(self, queue: str) -> QueueCounts:
        """Count by SQS's approximate attributes; ``held`` includes messages that are hidden until their ETA or a
        retry."""
        found = self._client.queues.find(queue)
        if found is None:
            return QueueCounts(queue=queue, pending=0)
        waiting, hidden, delayed = self._numbers(
            found.url, _COUNTS, f"{_COUNTS}NotVisible", f"{_COUNTS}Delayed"
        )
        dead = self._count_dead(found) if found.dead_url else None
        return QueueCounts(queue=queue, pending=waiting, held=hidden, delayed=delayed, dead=dead)

    def _count_dead(self, queue: SQSQueue) -> int | None:
        """Count the dead letters that are not hidden; None: SQS does not let this account count them."""
        with suppress(SQSRefused):
            return self._numbers(queue.dead_url, _COUNTS)[0]
        return None

    def pending(self, queue: str, limit: int = 1000) -> list[bytes]:
        raise GearmeshError(
            f"queue {queue!r}: SQS shows no waiting message without delivering it; 'gearmesh queues {queue}' counts "
            "them"
        )

    def delayed(self, limit: int = 1000) -> list[DelayedMessage]:
        raise GearmeshError("SQS does not list delayed messages; 'gearmesh queues' counts them")

    def purge(self, queue: str, gone: DeletedCallback | None = None) -> int:
        """Receive and delete the messages that wait when the purge begins, and return newer ones to the queue.

        SQS's PurgeQueue would delete unacked messages, too.
        """
        found = self._client.queues.find(queue)
        if found is None:
            return 0
        until = self._server_time(found) + MAX_DATE_AGE_S
        newer: list[Unacked] = []
        total = newer_reads = 0
        try:
            while newer_reads < MAX_NEWER_READS and (many := self._read(found, READ_HIDDEN_S)):
                older = [held for held in many if held.sent_at <= until]
                # They stay hidden until the end. If SQS showed them at once, it would deliver them again and again.
                newer += [held for held in many if held.sent_at > until]
                newer_reads = 0 if older else newer_reads + 1
                lost = {id(held) for held in delete(self._client, older)}
                deleted = [held.body for held in older if id(held) not in lost]
                total += len(deleted)
                if gone is not None and deleted:
                    gone(deleted)
        finally:
            now = time.monotonic()
            with suppress(SQSUnavailable, SQSRefused):
                MessageReturner(self._client).give_back(
                    [(held, 0.0) for held in newer if held.visible_at > now]
                )
        return total

    def _server_time(self, queue: SQSQueue) -> float:
        """Return SQS's time in unix seconds, or this machine's time if no answer of SQS has a date."""
        with suppress(SQSRefused):
            answer = self._client.call("get_queue_attributes", QueueUrl=queue.url, AttributeNames=[_COUNTS])
            if date := answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date"):
                return parsedate_to_datetime(date).timestamp()
        return time.time()

    def purge_delayed(self, queue: str, gone: DeletedCallback | None = None) -> int:
        raise GearmeshError("SQS does not list delayed messages")

    def dead_letters(self, queue: str, limit: int = 1000) -> list[DeadLetter]:
        found = self._client.queues.find(queue)
        if found is None or not found.dead_url:
            return []
        with self._dead(found) as letters:
            return _listed(queue, letters)[:limit]

    def take_dead(self, queue: str, ids: Sequence[str], *, retry: bool) -> int:
        found = self._client.queues.find(queue)
        if found is None or not found.dead_url or not ids:
            return 0
        wanted = set(ids)
        with self._dead(found) as letters:
            by_body: dict[bytes, list[Unacked]] = {}
            for held in letters:
                by_body.setdefault(held.body, []).append(held)
            chosen = [each.body for each in _listed(queue, letters) if each.id in wanted]
            if retry:
                send(self._client, [_again(found, by_body[body][0]) for body in chosen], lambda message: None)
            taken = [held for body in chosen for held in by_body[body]]
            delete(self._client, taken)
            for held in taken:
                letters.remove(held)
        return len(chosen)

    @contextmanager
    def _dead(self, queue: SQSQueue) -> Iterator[list[Unacked]]:
        """Read the dead letters of a queue and hide them from others; in the end show the remaining ones again.

        They are hidden for as long as it takes to read all of them. A message that is received after that time may be
        one that was read before.
        """
        source = SQSQueue(queue.dead_url.rpartition("/")[2], queue.dead_url)
        hidden_s = min(MAX_HIDDEN_S, READ_HIDDEN_S + (self._count_dead(queue) or 0) // MIN_LETTERS_PER_S)
        found: list[Unacked] = []
        others: list[Unacked] = []
        until = inf
        try:
            while time.monotonic() < until and (many := self._read(source, hidden_s)):
                until = min(until, many[0].visible_at)
                for held in many:
                    (found if held.attributes.get(SQS_QUEUE, queue.name) == queue.name else others).append(
                        held
                    )
            yield found
        finally:
            with suppress(SQSUnavailable, SQSRefused):
                hide(self._client, [(held, 0) for held in found + others])

    def _read(self, queue: SQSQueue, hidden_s: int) -> list[Unacked]:
        settings = ReceiveSettings(READ_WAIT_S, hidden_s)
        return receive(self._client, queue, "", count=10, settings=settings, new_id=lambda: 0)

    def _numbers(self, url: str, *names: str) -> list[int]:
        answer = self._client.call("get_queue_attributes", QueueUrl=url, AttributeNames=list(names))
        attributes = answer.get("Attributes") or {}
        return [int(attributes.get(name) or 0) for name in names]


def _of(record: SQSUnackedDeliveries, queues: Sequence[str]) -> list[Unacked]:
    return [each for each in list(record.held.values()) if each.delivery.queue in queues]


def _crash_counts(ran: Sequence[Unacked], *, certain: bool) -> list[tuple[Unacked, float]]:
    """Return the messages that ran when a process died and are isolated from now on, with their crash counts.

    Args:
        ran: the messages that ran, or all messages if it is not known which ran.
        certain: one of them has certainly brought the process down. If not, only messages that were lost before are
            isolated.
    """
    found: list[tuple[Unacked, float]] = []
    for held in ran:
        before = held.delivery
        count = crash_count_after(
            before.crash_count, lost_before=bool(before.redelivered), alone=len(ran) == 1, certain=certain
        )
        if count is not None:
            found.append((held, count))
    return found


def _listed(queue: str, letters: Sequence[Unacked]) -> list[DeadLetter]:
    """Make dead letters of messages; messages with the same bytes are one dead letter."""
    by_body: dict[bytes, list[Unacked]] = {}
    for held in sorted(letters, key=lambda held: held.sent_at):
        by_body.setdefault(held.body, []).append(held)
    return [
        DeadLetter(
            queue=queue,
            body=body,
            reason=many[-1].attributes.get(SQS_REASON)
            or "SQS moved it: it was received as often as the redrive policy allows, and never deleted",
            count=len(many),
            first=many[0].sent_at,
            last=many[-1].sent_at,
        )
        for body, many in by_body.items()
    ]


def _again(queue: SQSQueue, held: Unacked) -> OutgoingMessage:
    """Make the message that sends a dead letter to its queue again."""
    text, attributes = text_of(held.body)
    kept = {name: value for name, value in held.attributes.items() if name not in (SQS_REASON, SQS_QUEUE)}
    group = identity = ""
    if queue.fifo:
        identity = deduplication_id(held.receipt.encode())
        group = held.group or identity
    return OutgoingMessage(queue, text, kept | attributes, 0, group, identity)
