"""Receives messages in threads of their own, and hands them to the consumer's thread within its prefetch."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from gearmesh.interfaces.commit import Delivery
from gearmesh.transports.queue_order import QueuePicker
from gearmesh.transports.sqs.client import SQSClient
from gearmesh.transports.sqs.commit_engine import MessageReturner
from gearmesh.transports.sqs.errors import SQSRefused, SQSUnavailable
from gearmesh.transports.sqs.message import body_of, eta_of
from gearmesh.transports.sqs.queues import SQSQueue
from gearmesh.transports.sqs.unacked import SQSUnackedDeliveries, Unacked
from gearmesh.transports.sqs.visibility import BATCH_ENTRIES
from gearmesh.wire.names import SQS_CRASHES, SQS_DUPLICATE, SQS_REPUBLISHED

__all__ = ["ISOLATED_AFTER_RECEIVES", "ReceiveSettings", "Receiver", "Subscription", "receive"]

log = logging.getLogger("gearmesh.sqs")

#: Number of receives at the same time for one queue while its backlog fills them.
MAX_RECEIVES_IN_FLIGHT: Final = 8
#: Seconds for which a receive waits for room for ten messages, so that one request brings ten.
LINGER_S: Final = 0.02
#: Seconds that each further receive of a queue waits for messages.
EXTRA_WAIT_S: Final = 1
#: Seconds that an answer with messages takes at most to arrive.
MAX_ANSWER_S: Final = 1.0
#: Seconds before the receiver repeats a receive that failed.
RETRY_S: Final = 1.0
#: Seconds for which the receiver asks for messages after the consumer last took some or waited for some.
ASKS_FOR_S: Final = 1.0
#: Number of messages that may wait for a consumer without a prefetch.
MAX_READY: Final = 100
#: Number of receives after which a message may have killed its workers, so that it runs alone from then on.
ISOLATED_AFTER_RECEIVES: Final = 5

#: System attributes that SQS gives with each message.
_SYSTEM: Final = [
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SentTimestamp",
    "MessageGroupId",
]


@dataclass(frozen=True, slots=True)
class ReceiveSettings:
    """Settings of the requests for messages.

    Attributes:
        wait_s: seconds that one request waits for messages.
        visibility_s: seconds for which SQS hides a received message; 0: the queue's own timeout.
    """

    wait_s: int = 20
    visibility_s: int = 0


@dataclass(eq=False, slots=True)
class Subscription:
    """Links a kombu consumer to its SQS queue.

    Attributes:
        tag: kombu's consumer tag.
        queue: the queue.
        no_ack: delete its messages when its callback gets them.
        callback: gets the messages.
        ready: received messages that the callback may get now.
        asked: number of messages that running receives may bring.
        receives: the number of these receives.
        backlog: the last receive brought as many messages as it asked for.
        room_since: monotonic time since which there is room, but for fewer than ten messages; 0: there is no room, or
            more.
    """

    tag: str
    queue: SQSQueue
    no_ack: bool
    callback: Callable[[Any], Any]
    ready: deque[Unacked] = field(default_factory=deque)
    asked: int = 0
    receives: int = 0
    backlog: bool = False
    room_since: float = 0.0
    closed: bool = False


def receive(
    client: SQSClient,
    queue: SQSQueue,
    consumer: str,
    *,
    count: int,
    settings: ReceiveSettings,
    new_id: Callable[[], int],
) -> list[Unacked]:
    """Receive up to ``count`` messages with one request.

    Raises:
        SQSUnavailable, SQSRefused: the request failed.
    """
    hidden = settings.visibility_s or queue.visibility_s
    began = time.monotonic()
    params: dict[str, Any] = {
        "QueueUrl": queue.url,
        "MaxNumberOfMessages": count,
        "WaitTimeSeconds": settings.wait_s,
        "AttributeNames": _SYSTEM,
        "MessageAttributeNames": ["All"],
        "VisibilityTimeout": hidden,
    }
    answer = client.call("receive_message", **params)
    # The timeout begins when SQS hands the messages out, which may be long after the request.
    came = time.monotonic()
    shown_at = came + hidden - min(came - began, MAX_ANSWER_S, hidden / 4)
    return [
        _unacked(queue, consumer, raw, new_id(), (came, hidden, shown_at))
        for raw in answer.get("Messages") or ()
    ]


def _unacked(
    queue: SQSQueue, consumer: str, raw: dict[str, Any], number: int, times: tuple[float, int, float]
) -> Unacked:
    system = raw.get("Attributes") or {}
    attributes = {
        name: str(value.get("StringValue") or "")
        for name, value in (raw.get("MessageAttributes") or {}).items()
    }
    receives = int(system.get("ApproximateReceiveCount") or 1)
    duplicate = SQS_DUPLICATE in attributes
    crashes = attributes.get(SQS_CRASHES, "")
    crash_count = int(crashes) / 4 if crashes.isascii() and crashes.isdigit() else None
    if crash_count is None and receives > ISOLATED_AFTER_RECEIVES:
        crash_count = 0.0
    delivery = Delivery(
        queue=queue.name,
        consumer=consumer,
        id=number,
        redelivered=max(int(duplicate or crash_count is not None), receives - 1),
        duplicate_attempt=receives if duplicate else 0,
        crash_count=crash_count,
        republished=SQS_REPUBLISHED in attributes,
    )
    came, hidden, shown_at = times
    now_ms = time.time() * 1000
    return Unacked(
        delivery,
        queue,
        body_of(raw["Body"], attributes),
        attributes,
        raw["ReceiptHandle"],
        str(system.get("MessageGroupId") or "") if queue.fifo else "",
        receives,
        float(system.get("ApproximateFirstReceiveTimestamp") or now_ms) / 1000,
        float(system.get("SentTimestamp") or now_ms) / 1000,
        came,
        hidden,
        shown_at,
    )


def _due(came: Sequence[Unacked], now_ns: int) -> tuple[list[Unacked], list[tuple[Unacked, float]]]:
    """Divide messages into due ones, and waiting ones with the seconds until their ETAs.

    Messages behind a waiting message of their group wait, too.
    """
    now: list[Unacked] = []
    later: list[tuple[Unacked, float]] = []
    waiting = set[str]()
    for held in came:
        wait_ns = eta_of(held.body) - now_ns
        if wait_ns > 0 or (held.group and held.group in waiting):
            later.append((held, max(0.0, wait_ns / 1e9)))
            waiting.add(held.group)
        else:
            now.append(held)
    return now, later


class Receiver:
    """Receives for one channel, as long as its prefetch has room; the channel's thread takes the messages.

    One request at a time waits for the messages of a queue: an idle consumer sends no others. Several run while a
    backlog fills them.

    SQS may return several messages of one group of a FIFO queue. The receiver hands them out one after the other.

    Args:
        client: sends the requests.
        record: the unacked deliveries of the consumer.
        changed: guards the receiver, which notifies it when a message may be handed out.
        settings: the settings of the requests.
        picker: the order of the queues.
    """

    def __init__(
        self,
        client: SQSClient,
        record: SQSUnackedDeliveries,
        changed: threading.Condition,
        settings: ReceiveSettings,
        picker: QueuePicker,
    ) -> None:
        self._client = client
        self._record = record
        self._changed = changed
        self._settings = settings
        self._picker = picker
        self._returner = MessageReturner(client)
        self._subscriptions: dict[str, Subscription] = {}
        self._prefetch = 0
        #: (queue URL, message group) -> messages that wait behind the one that was handed out
        self._behind: dict[tuple[str, str], deque[Unacked]] = {}
        #: number of messages in :attr:`_behind` and in all ``ready``
        self._undelivered = 0
        self._error: Exception | None = None

    # -- the channel's thread

    def subscribe(self, subscription: Subscription) -> None:
        """Begin to receive for a consumer."""
        with self._changed:
            self._subscriptions[subscription.tag] = subscription
            self._record.on_left = self._left
        self._start(subscription, extra=False)

    def cancel(self, tag: str) -> None:
        """End a consumer, and return the messages that it has not got."""
        with self._changed:
            subscription = self._subscriptions.pop(tag, None)
            if subscription is None:
                return
            subscription.closed = True
            back = list(subscription.ready)
            subscription.ready.clear()
            for key in [key for key in self._behind if key[0] == subscription.queue.url]:
                back += self._behind.pop(key)
            self._undelivered -= 0 if subscription.no_ack else len(back)
            self._changed.notify_all()
        self._give_back(back)

    def set_prefetch(self, count: int) -> None:
        """Bound the deliveries that the consumers may hold together; 0: any number."""
        with self._changed:
            self._prefetch = count
            self._changed.notify_all()

    def take(self) -> list[tuple[Subscription, Unacked]]:
        """Return the messages that may be handed out now. The caller holds the lock.

        Raises the error of a receive, once.
        """
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        taken: list[tuple[Subscription, Unacked]] = []
        room = self._room()
        while room > 0:
            waiting = {each.queue.name: each for each in self._subscriptions.values() if each.ready}
            if not waiting:
                break
            for name, share in self._picker.turn(list(waiting), room):
                each = waiting[name]
                for _ in range(min(share, room, len(each.ready))):
                    taken.append((each, each.ready.popleft()))
                    room -= 1
        self._undelivered -= sum(not each.no_ack for each, _ in taken)
        if taken:
            self._changed.notify_all()  # receivers of several queues may go on
        return taken

    def untake(self, taken: Sequence[tuple[Subscription, Unacked]]) -> None:
        """Put taken messages that no callback has got back at the front."""
        with self._changed:
            back = [held for each, held in taken if each.closed]
            for each, held in reversed([pair for pair in taken if not pair[0].closed]):
                each.ready.appendleft(held)
                self._undelivered += not each.no_ack
            self._changed.notify_all()
        self._give_back(back)

    def close(self) -> None:
        """End all consumers."""
        for tag in list(self._subscriptions):
            self.cancel(tag)
        with self._changed:
            if self._record.on_left == self._left:
                self._record.on_left = None

    def _room(self) -> int:
        """Count the messages that may be handed out. The caller holds the lock."""
        if not self._prefetch:
            return MAX_READY
        return self._prefetch - (len(self._record.held) - self._undelivered)

    # -- settled deliveries; any thread

    def _left(self, deleted: list[Unacked], returned: list[Unacked]) -> None:
        """Make the next message of a group ready, or return the messages behind one that was returned."""
        back: list[Unacked] = []
        with self._changed:
            for held in deleted:
                behind = self._behind.get((held.queue.url, held.group)) if held.group else None
                if behind is None:
                    continue
                subscription = self._of_queue(held.queue)
                if behind and subscription is not None:
                    subscription.ready.append(behind.popleft())
                else:
                    del self._behind[held.queue.url, held.group]
            if returned:
                self._drop_lost()
            for held in returned:
                if held.group and (waiting := self._behind.pop((held.queue.url, held.group), None)):
                    back += waiting
            self._undelivered -= len(back)
            self._changed.notify_all()
        self._give_back(back)

    def _drop_lost(self) -> None:
        """Forget the lost messages among those that are ready. The caller holds the lock."""
        open_ = self._record.held
        for each in self._subscriptions.values():
            if not each.no_ack and any(held.delivery.id not in open_ for held in each.ready):
                count = len(each.ready)
                each.ready = deque(held for held in each.ready if held.delivery.id in open_)
                self._undelivered -= count - len(each.ready)

    def _of_queue(self, queue: SQSQueue) -> Subscription | None:
        return next((each for each in self._subscriptions.values() if each.queue.url == queue.url), None)

    def _give_back(self, many: Sequence[Unacked], seconds: float = 0.0) -> None:
        """Return messages that no callback has got. If SQS does not answer, they return when their timeouts are
        over."""
        if not many:
            return
        with suppress(SQSUnavailable, SQSRefused):
            self._returner.give_back([(held, seconds) for held in many])
        self._record.forget((), many)

    # -- the receiving threads

    def _start(self, subscription: Subscription, *, extra: bool) -> None:
        subscription.receives += 1
        threading.Thread(
            target=self._loop, args=(subscription, extra), name="gearmesh-sqs-receiver", daemon=True
        ).start()

    def _loop(self, subscription: Subscription, extra: bool) -> None:
        settings = self._settings
        if extra:
            settings = ReceiveSettings(min(EXTRA_WAIT_S, settings.wait_s), settings.visibility_s)
        try:
            while count := self._ask(subscription, extra):
                self._receive(subscription, count, settings)
        finally:
            with self._changed:
                subscription.receives -= 1

    def _ask(self, subscription: Subscription, extra: bool) -> int:
        """Wait until there is room, and return the number of messages to ask for; 0: this thread has to end."""
        with self._changed:
            while not subscription.closed:
                if extra and not subscription.backlog:
                    return 0
                count, pause = self._wanted(subscription)
                if count:
                    subscription.asked += count
                    return count
                if extra and pause is None:
                    if not self._changed.wait(EXTRA_WAIT_S):
                        return 0
                else:
                    self._changed.wait(pause)
            return 0

    def _wanted(self, subscription: Subscription) -> tuple[int, float | None]:
        """Return the number of messages to ask for; or 0, and the seconds to wait for more room (None: until
        notified)."""
        if time.monotonic() - self._record.asked_at > ASKS_FOR_S and not self._record.resting:
            return 0, None
        if not self._prefetch:
            room = MAX_READY - len(subscription.ready) - subscription.asked
        else:
            room = self._prefetch - len(self._record.held) - subscription.asked
        if room <= 0:
            subscription.room_since = 0.0
            return 0, None
        full = min(BATCH_ENTRIES, self._prefetch or BATCH_ENTRIES)
        if room < full and self._record.held:
            now = time.monotonic()
            subscription.room_since = subscription.room_since or now
            left = subscription.room_since + LINGER_S - now
            if left > 0:
                return 0, left
        subscription.room_since = 0.0
        return min(room, BATCH_ENTRIES), None

    def _receive(self, subscription: Subscription, count: int, settings: ReceiveSettings) -> None:
        queue, record = subscription.queue, self._record
        error: Exception | None = None
        came: list[Unacked] = []
        now: list[Unacked] = []
        later: list[tuple[Unacked, float]] = []
        try:
            came = receive(
                self._client, queue, record.consumer, count=count, settings=settings, new_id=record.new_id
            )
            now, later = _due(came, time.time_ns())
        except SQSUnavailable as exc:
            error = exc
        except SQSRefused as exc:
            self._client.queues.forget(queue.name)
            error = SQSUnavailable(str(exc))
        except Exception as exc:
            log.critical("messages of queue %s cannot be received", queue.name, exc_info=True)
            error = exc
        with self._changed:
            subscription.asked -= count
            subscription.backlog = len(came) >= count
            self._error = error or self._error
            surplus = now if subscription.closed else now[self._limit(count) :]
            self._arrive(subscription, now[: len(now) - len(surplus)])
            more = (
                subscription.backlog
                and not subscription.closed
                and subscription.receives < MAX_RECEIVES_IN_FLIGHT
                and self._wanted(subscription)[0] == BATCH_ENTRIES
            )
            if more:
                self._start(subscription, extra=True)
            self._changed.notify_all()
        self._put_off([*((held, 0.0) for held in surplus), *later])
        if error is not None and not subscription.closed:
            time.sleep(RETRY_S)

    def _limit(self, count: int) -> int:
        """Return how many received messages may stay, since the prefetch may have become smaller."""
        if not self._prefetch or len(self._subscriptions) > 1:
            return count
        return max(0, self._prefetch - len(self._record.held))

    def _put_off(self, many: Sequence[tuple[Unacked, float]]) -> None:
        if many:
            with suppress(SQSUnavailable, SQSRefused):
                self._returner.give_back(many)

    def _arrive(self, subscription: Subscription, many: Sequence[Unacked]) -> None:
        for held in many:
            if not subscription.no_ack:
                self._record.add(held)
            self._undelivered += not subscription.no_ack
            if not held.group or subscription.no_ack:
                subscription.ready.append(held)
                continue
            key = (held.queue.url, held.group)
            behind = self._behind.get(key)
            if behind is None:
                self._behind[key] = deque()
                subscription.ready.append(held)
            else:
                behind.append(held)
