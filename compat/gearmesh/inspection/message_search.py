"""Finds messages in a broker that reads pages, with bounded work: by the UUID of their task, or by a condition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from gearmesh.inspection.messages import signature_of
from gearmesh.interfaces.transport import SupportsConsumerListing, SupportsParkedListing

__all__ = ["FoundMessage", "MessageSearch", "find_message", "messages_from"]

#: The largest numbers of messages to look at for a UUID: waiting ones of all queues; delayed ones; others of each kind
#: and queue.
MAX_WAITING_MESSAGES: Final = 10_000
MAX_DELAYED_MESSAGES: Final = 5000
MAX_OTHER_MESSAGES: Final = 500
#: Messages in one read, and the bytes that a read should not exceed.
MIN_SLICE_MESSAGES: Final = 10
MAX_SLICE_MESSAGES: Final = 1000
SLICE_BYTES: Final = 2_000_000


class FoundMessage(NamedTuple):
    """Holds a message that was found, and its place.

    Attributes:
        body: the original bytes.
        queue: its queue; ``""`` for a delayed message, whose signature names the queue.
        place: ``waiting``, ``unacked``, ``delayed``, ``parked`` or ``dead``.
        detail: the position, the consumer, the ETA in unix ns, or the reason; ``""``: nothing to add.
    """

    body: bytes
    queue: str
    place: str
    detail: str = ""


class MessageSearch(NamedTuple):
    """Holds the result of a search.

    Attributes:
        found: the message; None: the search did not find it.
        looked_at: the number of messages that the search has read.
        whole: False if there were more messages than the search reads.
    """

    found: FoundMessage | None
    looked_at: int
    whole: bool


def messages_from(
    read: Callable[[int, int], Sequence[Any]], start: int, most: int
) -> Iterator[tuple[int, Any]]:
    """Read up to ``most`` entries with their positions, in slices whose bytes are bounded if messages are alike.

    Args:
        read: takes a position and a count; returns bodies, or entries with a ``body``.
        start: the first position.
        most: the largest number of entries to read.
    """
    count = MIN_SLICE_MESSAGES
    end = start + most
    while start < end:
        part = read(start, min(count, end - start))
        size = 0
        for entry in part:
            size += len(entry if isinstance(entry, bytes) else entry.body)
            yield start, entry
            start += 1
        if len(part) < min(count, end - start + len(part)):
            return
        fitting = SLICE_BYTES * len(part) // max(size, 1)
        count = max(MIN_SLICE_MESSAGES, min(MAX_SLICE_MESSAGES, fitting, count * 10))


def find_message(channel: Any, uuid: str, queues: Sequence[str]) -> MessageSearch:
    """Find the message of a task: among unacked, delayed, waiting, parked and dead-lettered ones.

    Args:
        channel: a channel with pages.
        uuid: the task's UUID.
        queues: the queues to look into, the likely one first.
    """
    needle = uuid.encode()
    looked_at, whole = 0, True

    def is_it(body: bytes) -> bool:
        return needle in body and uuid == signature_of(body).UUID

    for found in _elsewhere(channel, queues):
        looked_at += 1
        if is_it(found.body):
            return MessageSearch(found, looked_at, True)
    for position, entry in messages_from(channel.delayed_page, 0, MAX_DELAYED_MESSAGES):
        looked_at += 1
        whole = whole and position + 1 < MAX_DELAYED_MESSAGES
        if is_it(entry.body):
            return MessageSearch(FoundMessage(entry.body, "", "delayed", str(entry.eta_ns)), looked_at, True)
    left = MAX_WAITING_MESSAGES
    for queue in queues:
        for position, body in messages_from(partial(channel.pending_page, queue), 0, left):
            looked_at += 1
            left -= 1
            if is_it(body):
                found = FoundMessage(body, queue, "waiting", str(position))
                return MessageSearch(found, looked_at, True)
        if left <= 0:
            return MessageSearch(None, looked_at, False)
    return MessageSearch(None, looked_at, whole)


def _elsewhere(channel: Any, queues: Sequence[str]) -> Iterator[FoundMessage]:
    """Yield the unacked, the parked and the dead-lettered messages of some queues, as far as the channel lists them."""
    for queue in queues:
        count = channel.count(queue)
        if count.held != 0 and isinstance(channel, SupportsConsumerListing):
            for consumer in channel.consumers(queue):
                for body in consumer.bodies:
                    yield FoundMessage(body, queue, "unacked", consumer.name)
        for letter in channel.dead_page(queue, 0, MAX_OTHER_MESSAGES) if count.dead != 0 else ():
            yield FoundMessage(letter.body, queue, "dead", letter.reason)
        # Ask only if there are some, because the broker reads waiting messages, too, to list parked ones.
        if count.parked != 0 and isinstance(channel, SupportsParkedListing):
            for parked in channel.parked(queue, MAX_OTHER_MESSAGES):
                if parked.until is not None:
                    yield FoundMessage(parked.body, queue, "parked", str(parked.until))
