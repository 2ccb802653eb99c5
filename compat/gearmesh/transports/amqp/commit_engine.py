"""The commit engine publishes all messages of the Commits, awaits RabbitMQ's confirms, and then settles."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from amqp.exceptions import AMQPError

from gearmesh.errors import RemoteProtocolError
from gearmesh.interfaces.commit import Commit, Delivery, Outcome, Publish, Settle, Token
from gearmesh.transports.amqp.delivery_tags import AckTracker
from gearmesh.transports.amqp.frames import OutgoingMessage
from gearmesh.transports.amqp.publisher import DUPLICATE_ATTEMPT_HEADER, repeated
from gearmesh.transports.amqp.topology import rungs_of
from gearmesh.transports.amqp.unacked import UNACKED_BY_CONSUMER, AMQPUnackedDeliveries, Unacked
from gearmesh.wire.codec import decode
from gearmesh.wire.names import amqp_dead, amqp_rung

if TYPE_CHECKING:
    from gearmesh.transports.amqp.connection import AMQPConnection
    from gearmesh.transports.amqp.frames import QueueDeclaration
    from gearmesh.transports.amqp.poison_records import PoisonRecords

__all__ = [
    "DEAD_AT_HEADER",
    "DEAD_REASON_HEADER",
    "LOST_HEADER",
    "PARKED_HEADER",
    "SHORT_PARK_ROUNDS",
    "CommitEngine",
    "first_met",
]

#: gearmesh's headers; Go ignores them. Of a parked message: unix ms at which a worker first got it, and rounds since.
PARKED_HEADER: Final = "x-gearmesh-aside"
#: Any producer may write this header, and ``int`` raises for some digits of Unicode and for very long numbers.
_PARKED: Final = re.compile("([0-9]{1,18}) ([0-9]{1,18})")
#: Of a dead letter: the reason, and the time of its death, unix ms.
DEAD_REASON_HEADER: Final = "x-gearmesh-reason"
DEAD_AT_HEADER: Final = "x-gearmesh-died"
#: Of a message that was lost with its consumer, and then went to the tail: RabbitMQ treats the copy as a new message.
LOST_HEADER: Final = "x-gearmesh-lost"
#: RabbitMQ routes a message by all keys in this header, too. The message loses it as it leaves the delay queues.
_MORE_ROUTING_KEYS_HEADER: Final = "CC"
#: RabbitMQ's headers that a copy must not keep, because RabbitMQ would detect a cycle.
_DEATH_HEADERS: Final = ("x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason")

#: Seconds for which a message of an unknown task is parked from its second receive on; after this many rounds they
#: double, up to the last number. RabbitMQ serves consumers in turn, and a worker has up to eight consumers of a queue,
#: so a Go worker that knows the task may get its turn late.
MIN_PARK_S, SHORT_PARK_ROUNDS, MAX_PARK_S = 0.05, 16, 30.0
#: Seconds for which a message is parked at most: three years. RabbitMQ allows ten years.
MAX_WAIT_S: Final = 1e8


class CommitEngine:
    """Carries out Commits on RabbitMQ for one channel; see :class:`gearmesh.interfaces.transport.Channel`.

    Args:
        link: the connection of the channel.
        unacked: the unacked deliveries of the channel's consumer.
        poison_records: the records to delete when a message that was lost before is settled.
    """

    def __init__(
        self, link: AMQPConnection, unacked: AMQPUnackedDeliveries, poison_records: PoisonRecords
    ) -> None:
        self.link = link
        self.topology = link.topology
        self.unacked = unacked
        self.poison_records = poison_records

    def is_lost(self, settle: Settle) -> bool:
        """Say whether RabbitMQ has the delivery back, or gave it to another consumer."""
        return self._held(settle, set()) is None

    def commit(
        self, commits: Sequence[Commit], *, token: Token | None = None, again: bool = False
    ) -> list[Outcome]:
        """Publish, await the confirms, settle. ``again``: mark the published messages as possible duplicates.

        ``token`` has no effect: RabbitMQ does not say which messages of a broken connection it has.
        """
        outcomes: list[Outcome] = ["done"] * len(commits)
        batch: list[OutgoingMessage] = []
        settles: list[tuple[int, str, Unacked]] = []
        link = self.link
        now = time.time_ns()
        with link.lock:
            link.check()
            taken: set[int] = set()
            targets: dict[str, QueueDeclaration] = {}
            for i, commit in enumerate(commits):
                settle = commit.settle
                held = None if settle is None else self._held(settle, taken)
                if settle is not None and held is None:
                    outcomes[i] = "lost"
                    continue
                publishings = [self._publishing(publish, now, targets) for publish in commit.publishes]
                if again or commit.again or (held is not None and _run_beside(held.delivery)):
                    publishings = [repeated(item) for item in publishings]
                batch += publishings
                if settle is None or held is None or settle.how == "keep":
                    continue
                taken.add(held.delivery.id)
                settles.append((i, settle.how, held))
                copy = self._copy_of(settle, held, now)
                if copy is not None:
                    batch.append(copy)
                    if settle.how == "park" and copy.routing_key == amqp_dead(settle.delivery.queue):
                        outcomes[i] = "expired"
            if batch:
                link.publisher.publish(batch)
        for i in self._settle(settles):
            outcomes[i] = "lost"
        return outcomes

    def stream(
        self,
        chunks: Iterable[Sequence[Commit]],
        sent: Callable[[Collection[int]], None],
        *,
        again: bool = False,
        waits: bool = True,
    ) -> None:
        self.link.check()
        how = {"again": again} if waits else {"again": again, "waits": False}
        self.link.publisher.stream(map(self._publishings, chunks), sent, **how)

    # -- publishing

    def _publishings(self, commits: Sequence[Commit]) -> list[OutgoingMessage]:
        now = time.time_ns()
        targets: dict[str, QueueDeclaration] = {}
        items: list[OutgoingMessage] = []
        with self.link.lock:
            for commit in commits:
                made = [self._publishing(publish, now, targets) for publish in commit.publishes]
                items += map(repeated, made) if commit.again else made
        return items

    def _publishing(
        self, publish: Publish, now: int, targets: dict[str, QueueDeclaration]
    ) -> OutgoingMessage:
        """Make the message, and declare its queue. ``targets``: the queues that were declared, by routing key."""
        queue = targets.get(publish.queue)
        if queue is None:
            queue = targets[publish.queue] = self.topology.target(publish.queue)
            self.link.declarer.ensure(queue)
        config = self.topology.config
        headers = _headers(publish.body)
        if publish.eta_ns <= now:
            return OutgoingMessage(
                config.exchange, publish.queue, publish.body, headers, publish.priority, queue=queue
            )
        return self._delayed(publish, (publish.eta_ns - now) / 1e9, headers)

    def _delayed(self, publish: Publish, seconds: float, headers: dict[str, Any] | None) -> OutgoingMessage:
        """Make a message that RabbitMQ keeps for ``seconds`` before it publishes it to Machinery's exchange."""
        topology = self.topology
        ms = topology.delay_ms(seconds)
        if topology.config.delayed_queue:
            place = topology.delayed_queue(publish.queue)
            exchange, expiration = topology.config.exchange, str(ms)
        else:
            place = topology.due(publish.queue)
            rungs = [amqp_rung(rung) for rung in rungs_of(ms)]
            exchange, expiration = rungs[0], ""
            headers = {**(headers or {}), _MORE_ROUTING_KEYS_HEADER: rungs}
        self.link.declarer.ensure(place)
        return OutgoingMessage(
            exchange, place.name, publish.body, headers, publish.priority, expiration, queue=place
        )

    def _copy_of(self, settle: Settle, held: Unacked, now: int) -> OutgoingMessage | None:
        """Make the copy that RabbitMQ must have before the delivery is acknowledged, so that no message is lost."""
        queue, how = settle.delivery.queue, settle.how
        if how not in ("tail", "later", "park", "dead"):
            return None
        came_with = held.properties.get("application_headers") or {}
        headers = {name: value for name, value in came_with.items() if name not in _DEATH_HEADERS}
        if how == "tail":
            if settle.delivery.duplicate_attempt:
                headers[DUPLICATE_ATTEMPT_HEADER] = settle.delivery.duplicate_attempt + 1
            if held.recorded:
                headers[LOST_HEADER] = True
            return self._copy(held, queue, headers)
        if how == "later":
            return self._returning_copy(held, queue, headers, (settle.at_ns - now) / 1e9)
        if how == "park":
            return self._parked_copy(settle, held, headers, now)
        return self._dead_letter(held, queue, headers, settle.reason, now)

    def _copy(self, held: Unacked, queue: str, headers: dict[str, Any]) -> OutgoingMessage:
        """Make a copy that goes straight into a queue, past all bindings."""
        kind = held.properties.get("content_type") or "application/json"
        priority = held.properties.get("priority") or 0
        return OutgoingMessage("", queue, held.body, headers, priority, content_type=kind)

    def _copy_into(self, held: Unacked, place: QueueDeclaration, headers: dict[str, Any]) -> OutgoingMessage:
        """Make a copy that goes into one of gearmesh's own queues, and declare that queue."""
        self.link.declarer.ensure(place)
        return msgspec.structs.replace(self._copy(held, place.name, headers), queue=place)

    def _returning_copy(
        self, held: Unacked, queue: str, headers: dict[str, Any], seconds: float
    ) -> OutgoingMessage:
        if seconds <= 0:
            return self._copy(held, queue, headers)
        # A message that returns before its time is parked once more.
        return self._copy_into(held, self.topology.parked(queue, min(seconds, MAX_WAIT_S)), headers)

    def _parked_copy(
        self, settle: Settle, held: Unacked, headers: dict[str, Any], now: int
    ) -> OutgoingMessage:
        queue = settle.delivery.queue
        first, turn = first_met(headers) or (now // 1_000_000, -1)
        if turn >= 0 and now // 1_000_000 - first >= settle.max_age * 1000:
            headers.pop(PARKED_HEADER, None)
            reason = f"no worker has registered the task {settle.reason}".rstrip()
            return self._dead_letter(held, queue, headers, reason, now)
        headers[PARKED_HEADER] = f"{first} {turn + 1}"
        if turn < 0:
            return self._copy(held, queue, headers)
        return self._returning_copy(held, queue, headers, _park_s(turn))

    def _dead_letter(
        self, held: Unacked, queue: str, headers: dict[str, Any], reason: str, now: int
    ) -> OutgoingMessage:
        headers = {**headers, DEAD_REASON_HEADER: reason, DEAD_AT_HEADER: now // 1_000_000}
        return self._copy_into(held, self.topology.dead(queue), headers)

    # -- settling

    def settle_one(self, id: int, how: Any) -> None:
        """Settle one delivery, for kombu's ack and reject."""
        delivery = self.unacked.open.get(id)
        if delivery is not None:
            self.commit([Commit(settle=Settle(delivery, how))])

    def put_back(self, helds: Sequence[Unacked]) -> int:
        """Return deliveries for which no task was begun; return their number."""
        self._settle([(0, "head", held) for held in helds])
        return len(helds)

    def _unacked_of(self, consumer: str) -> AMQPUnackedDeliveries:
        return self.unacked if consumer == self.unacked.consumer else UNACKED_BY_CONSUMER.get(consumer)

    def _held(self, settle: Settle, taken: set[int]) -> Unacked | None:
        """Find the delivery that is to be settled; None if it is lost, or was settled before."""
        delivery = settle.delivery
        unacked = self._unacked_of(delivery.consumer)
        held = unacked.held.get(delivery.id)
        if held is None or delivery.id in taken:
            return None
        if held.tags is None or not held.tags.open:
            # RabbitMQ redelivers the message. Remember the delivery if it was to stay unacked; forget any other.
            if settle.how != "keep":
                unacked.forget(delivery.id)
            return None
        return held

    def _settle(self, settles: Sequence[tuple[int, str, Unacked]]) -> list[int]:
        """Settle through the channels that brought the deliveries; return the indexes of those lost meanwhile."""
        lost: list[int] = []
        by_channel: dict[AckTracker | None, list[tuple[int, str, Unacked]]] = {}
        for each in settles:
            by_channel.setdefault(each[2].tags, []).append(each)
        for tags, members in by_channel.items():
            if tags is None:  # the connection ended a moment ago
                settled = False
            else:
                with tags.link.lock:
                    settled = self._settle_on(tags, members)
                tags.link.close_if_settled()
            if not settled:
                lost += [i for i, _, _ in members]
                for _, _, held in members:
                    self._unacked_of(held.delivery.consumer).forget(held.delivery.id)
        return lost

    def _settle_on(self, tags: AckTracker, members: Sequence[tuple[int, str, Unacked]]) -> bool:
        """Settle through one channel, whose connection's lock is held; False if it is closed."""
        link = tags.link
        nacks = [held.tag for _, how, held in members if how == "head"]
        try:
            if not tags.open:
                raise AMQPError("the channel was closed")
            link.send(tags.settle([held.tag for _, how, held in members if how != "head"], nacks))
        except (AMQPError, OSError):
            # The thread that owns that connection gets the error, too. RabbitMQ delivers these messages again.
            return False
        for _, how, held in members:
            self._unacked_of(held.delivery.consumer).forget(held.delivery.id)
            tags.channel.settled(held)
            if held.recorded and how not in ("head", "tail"):
                self.poison_records.clear(held)
        if nacks and link is self.link:
            tags.channel.barrier()
        return True


def _park_s(turn: int) -> float:
    return min(MAX_PARK_S, MIN_PARK_S * 2.0 ** min(max(0, turn - SHORT_PARK_ROUNDS), 16))


def first_met(headers: Mapping[str, Any]) -> tuple[int, int] | None:
    """Read :data:`PARKED_HEADER`: unix ms of the first receive, and rounds since. None: it is missing, or damaged."""
    match = _PARKED.fullmatch(str(headers.get(PARKED_HEADER) or ""))
    return (int(match[1]), int(match[2])) if match else None


def _run_beside(delivery: Delivery) -> bool:
    """Say whether another worker may have run the task, too, which has lost this message or had its first copy."""
    return delivery.redelivered > (delivery.duplicate_attempt > 0) or delivery.duplicate_attempt > 1


def _headers(body: bytes) -> dict[str, Any] | None:
    """Take the message's headers from the signature, as far as Go can send them on.

    Go: a number or an object among them makes Go unable to publish the signature again (``json.Number not
    supported``). These stay in the signature, which both sides read.
    """
    at = body.find(b'"Headers":')  # the first one is the signature's own: no field before it can hold another
    if at < 0 or body[at + 10 : at + 12] in (b"{}", b"nu"):
        return None
    try:
        headers = decode(body).Headers
    except RemoteProtocolError:
        return None
    found = {}
    for name, raw in (headers or {}).items():
        value = msgspec.json.decode(raw) if isinstance(raw, msgspec.Raw) else raw
        if _plain(value) and len(name.encode()) <= 255:
            found[name] = value
    return found or None


def _plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_plain, value))
    return isinstance(value, (str, bool))
