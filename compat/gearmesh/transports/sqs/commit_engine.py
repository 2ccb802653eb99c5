"""The commit engine sends all messages of the Commits, and then settles their deliveries, both in batches of ten."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from gearmesh.interfaces.commit import Commit, Outcome, Publish, Settle, Token
from gearmesh.transports.sqs.client import SQSClient
from gearmesh.transports.sqs.deleter import Deleter, delete
from gearmesh.transports.sqs.message import (
    MAX_DELAY_S,
    MAX_HIDDEN_S,
    OutgoingMessage,
    check_routing,
    deduplication_id,
    delay_seconds,
    text_of,
    uuid_of,
)
from gearmesh.transports.sqs.sender import send
from gearmesh.transports.sqs.sent import SentMessages
from gearmesh.transports.sqs.unacked import Unacked, find, forget
from gearmesh.transports.sqs.visibility import hide
from gearmesh.wire.names import (
    SQS_CRASHES,
    SQS_DUPLICATE,
    SQS_QUEUE,
    SQS_REASON,
    SQS_REPUBLISHED,
    SQS_SET_ASIDE,
)

__all__ = ["CommitEngine", "MessageReturner", "park_pause"]

log = logging.getLogger("gearmesh.sqs")

#: Seconds for which a message of an unknown task is hidden at its second receive, and at most.
MIN_PARK_S: Final = 1.0
MAX_PARK_S: Final = float(MAX_HIDDEN_S)
#: Seconds for which a message is hidden while a copy replaces it.
REPLACING_S: Final = 30
#: Number of characters of a reason that a dead letter keeps.
MAX_REASON_CHARACTERS: Final = 1000


def park_pause(receives: int) -> float:
    """Return the seconds for which a message of an unknown task is hidden after so many receives.

    After the first receive, other workers may get it at once.
    """
    return 0.0 if receives < 2 else min(MAX_PARK_S, MIN_PARK_S * 2.0 ** min(receives - 2, 64))


class MessageReturner:
    """Returns deliveries to their queues: now, or after some seconds.

    SQS counts each receive against the redrive policy. If its return would make a message a dead letter, though no task
    has failed, this class sends a copy instead, whose count begins anew.

    Args:
        client: sends the requests.
    """

    def __init__(self, client: SQSClient) -> None:
        self._client = client

    def give_back(self, many: Sequence[tuple[Unacked, float]]) -> list[Unacked]:
        """Return deliveries, each after some seconds (0: now).

        Returns the lost deliveries.

        Raises:
            SQSUnavailable: the caller may repeat the call for the deliveries that are still unacked.
        """
        now = time.monotonic()
        hidden: list[tuple[Unacked, int]] = []
        copied: list[tuple[Unacked, float]] = []
        for held, seconds in many:
            limit = held.received_at + MAX_HIDDEN_S - now
            # SQS keeps a copy for a whole retention period, and a hidden message only for the rest of its own.
            if _at_last_receive(held) or (seconds > MAX_DELAY_S and not held.group):
                copied.append((held, seconds))
            else:
                hidden.append((held, math.ceil(min(seconds, limit))))
        lost = hide(self._client, hidden) if hidden else []
        forget((), [held for held, _ in hidden])
        return lost + self._copy(copied)

    def replace_crashed(self, many: Sequence[tuple[Unacked, float]]) -> list[Unacked]:
        """Send copies of messages that ran when a process died, each with its crash count, and delete the messages.

        Returns the lost deliveries. Raises as :meth:`give_back`.
        """
        if not many:
            return []
        # Only SQS knows if a dead process's receipt handles are still valid: another consumer may have the message.
        lost = hide(self._client, [(held, REPLACING_S) for held, _ in many])
        forget((), lost)
        here = [(held, count) for held, count in many if held not in lost]
        for held, crash_count in here:
            held.attributes = held.attributes | {SQS_CRASHES: str(round(crash_count * 4))}
        return lost + self._copy([(held, 0.0) for held, _ in here])

    def _copy(self, many: Sequence[tuple[Unacked, float]]) -> list[Unacked]:
        if not many:
            return []
        copies = [_copy_of(held, min(MAX_DELAY_S, math.ceil(seconds))) for held, seconds in many]
        send(self._client, copies, lambda message: None)
        lost = delete(self._client, [held for held, _ in many])
        forget([held for held, _ in many])
        return lost


class CommitEngine:
    """Carries out Commits on SQS for one channel; see :class:`gearmesh.interfaces.transport.Channel`.

    Args:
        client: sends the requests, and finds the queues.
        deleter: deletes acknowledged messages.
    """

    def __init__(self, client: SQSClient, deleter: Deleter) -> None:
        self._client = client
        self._deleter = deleter
        self._returner = MessageReturner(client)

    def is_lost(self, settle: Settle) -> bool:
        """True if the delivery was settled, or SQS shows its message to other consumers."""
        return find(settle.delivery) is None

    def commit(self, commits: Sequence[Commit], *, token: Token | None = None) -> list[Outcome]:
        """Send, then settle. A repetition leaves out the messages that SQS has confirmed."""
        outcomes: list[Outcome] = ["done"] * len(commits)
        settled: dict[int, tuple[int, Settle, Unacked]] = {}
        outgoing: list[OutgoingMessage] = []
        marks: dict[int, Callable[[], None]] = {}
        kept: list[Unacked] = []
        of_batch = SentMessages() if token is None else self._client.sent.setdefault(token, SentMessages())
        now_ns = time.time_ns()
        for i, commit in enumerate(commits):
            settle = commit.settle
            held = None if settle is None else find(settle.delivery)
            if settle is not None and (held is None or held.delivery.id in settled):
                outcomes[i] = "lost"
                continue
            sent = of_batch if held is None else held.sent
            uuid = uuid_of(held.body) if held is not None and commit.publishes else ""
            for publish in commit.publishes:
                if publish in sent.taken:
                    continue
                message = self._outgoing(publish, now_ns, uuid)
                if (commit.again or publish in sent.tried) and not message.group:
                    message.attributes[SQS_DUPLICATE] = "1"
                sent.tried.add(publish)
                outgoing.append(message)
                marks[id(message)] = partial(sent.taken.add, publish)
            if settle is not None and held is not None and settle.how != "keep":
                settled[held.delivery.id] = (i, settle, held)
            elif held is not None:
                kept.append(held)
        send(self._client, outgoing, lambda message: marks[id(message)]())
        for held in kept:
            held.sent = SentMessages()
        for held in self._settle(list(settled.values()), outcomes):
            outcomes[settled[held.delivery.id][0]] = "lost"
        return outcomes

    def put_back(self, many: Sequence[Unacked]) -> int:
        """Return deliveries to their queues at once; return how many were still held."""
        here = [held for held in many if find(held.delivery) is held]
        lost = self._returner.give_back([(held, 0.0) for held in here])
        return len(here) - len(lost)

    # -- sending

    def _outgoing(self, publish: Publish, now_ns: int, sender: str) -> OutgoingMessage:
        """Make a message. ``sender``: the UUID of the task that sends it; ``""``: no task sends it."""
        queue = self._client.queues.get(publish.queue)
        text, attributes = text_of(publish.body)
        group = check_routing(queue.name, publish.body)
        if group:  # SQS cannot delay a message of a FIFO queue: the worker hides it until its ETA
            return OutgoingMessage(
                queue, text, attributes, 0, group, deduplication_id(publish.body, retry_of=sender)
            )
        delay = min(MAX_DELAY_S, delay_seconds(publish.eta_ns, now_ns))
        return OutgoingMessage(queue, text, attributes, delay)

    # -- settling

    def _settle(
        self, settled: Sequence[tuple[int, Settle, Unacked]], outcomes: list[Outcome]
    ) -> list[Unacked]:
        """Settle deliveries; return the lost ones."""
        by_verb: dict[str, list[tuple[Settle, Unacked]]] = defaultdict(list)
        for i, settle, held in settled:
            how: str = settle.how
            # SQS itself would move it to the dead letters next, without a reason, and its task would get no FAILURE.
            if how == "park" and (_is_too_old(settle, held) or _at_last_receive(held)):
                how, outcomes[i] = "dead", "expired"
            by_verb[how].append((settle, held))
        lost = self._acknowledge([held for _, held in by_verb["ack"]])
        forget((), [held for _, held in by_verb["leave"]])
        back = [(held, 0.0) for how in ("head", "tail") for _, held in by_verb[how]]
        back += [(held, self._park_seconds(settle, held)) for settle, held in by_verb["park"]]
        back += [(held, max(0.0, (settle.at_ns - time.time_ns()) / 1e9)) for settle, held in by_verb["later"]]
        if back:
            lost += self._returner.give_back(back)
        if by_verb["dead"]:
            lost += self._dead_letter(by_verb["dead"])
        return lost

    def _acknowledge(self, many: Sequence[Unacked]) -> list[Unacked]:
        ordered = [held for held in many if held.group]
        # The next message of a group may begin once this one is deleted.
        lost = delete(self._client, ordered) if ordered else []
        forget(many)
        others = [held for held in many if not held.group]
        if others:
            self._deleter.add(others)
        return lost

    def _park_seconds(self, settle: Settle, held: Unacked) -> float:
        left = held.first_at + settle.max_age - time.time()
        return min(park_pause(held.receives), max(0.0, left) + 1)

    def _dead_letter(self, many: Sequence[tuple[Settle, Unacked]]) -> list[Unacked]:
        """Move messages to the dead-letter queue of their queue, or else set them aside."""
        moved = [(settle, held) for settle, held in many if held.queue.dead_url]
        kept = [(settle, held) for settle, held in many if not held.queue.dead_url]
        letters = [_dead_letter_of(held, settle) for settle, held in moved]
        # On a FIFO queue a hidden message would block its group: so it goes to a group of its own.
        asides = [held for _, held in kept if held.group and not held.group.startswith(SQS_SET_ASIDE)]
        letters += [_set_aside_of(held) for held in asides]
        send(self._client, letters, lambda message: None)
        deleted = [*(held for _, held in moved), *asides]
        lost = delete(self._client, deleted) if deleted else []
        forget(deleted)
        hidden = [held for _, held in kept if held not in asides]
        if kept:
            log.error(
                "queue %s has no redrive policy, so SQS has no place for its dead letters: %d of them are hidden for "
                "up to 12 hours, and come again until its retention period is over",
                kept[0][1].queue.name,
                len(kept),
            )
        if hidden:
            limit = time.monotonic() - MAX_HIDDEN_S
            lost += hide(self._client, [(held, int(held.received_at - limit)) for held in hidden])
            forget((), hidden)
        return lost


def _at_last_receive(held: Unacked) -> bool:
    most = held.queue.max_receives
    return most is not None and held.receives >= most


def _is_too_old(settle: Settle, held: Unacked) -> bool:
    return held.receives > 1 and time.time() - held.first_at >= settle.max_age


def _copy_of(held: Unacked, delay: int) -> OutgoingMessage:
    text, attributes = text_of(held.body)
    attributes = held.attributes | attributes | {SQS_REPUBLISHED: str(held.receives)}
    if not held.group:
        return OutgoingMessage(held.queue, text, attributes, delay)
    identity = deduplication_id(held.receipt.encode())
    return OutgoingMessage(held.queue, text, attributes, 0, held.group, identity)


def _dead_letter_of(held: Unacked, settle: Settle) -> OutgoingMessage:
    text, attributes = text_of(held.body)
    reason = settle.reason or "no reason was given"
    if settle.how == "park":
        reason = f"no worker has registered the task {settle.reason}".rstrip()
    clean, odd = text_of(reason[:MAX_REASON_CHARACTERS].encode("utf-8", "replace"))
    attributes = (
        held.attributes | attributes | {SQS_REASON: "?" if odd else clean, SQS_QUEUE: held.queue.name}
    )
    for name in (SQS_REPUBLISHED, SQS_CRASHES, SQS_DUPLICATE):
        attributes.pop(name, None)
    group = identity = ""
    if held.group:
        group = identity = deduplication_id(held.receipt.encode())
    return OutgoingMessage(held.queue, text, attributes, 0, group, identity, held.queue.dead_url)


def _set_aside_of(held: Unacked) -> OutgoingMessage:
    text, attributes = text_of(held.body)
    identity = deduplication_id(held.receipt.encode())
    return OutgoingMessage(
        held.queue, text, held.attributes | attributes, 0, f"{SQS_SET_ASIDE}.{identity[:64]}", identity
    )
