"""Messages in a memory queue, without a channel."""

from __future__ import annotations

from gearmesh.interfaces.commit import Delivery
from gearmesh.transports.memory.queue import MemoryQueue, StoredMessage, Unacked


def hold(
    queue: MemoryQueue,
    id: int,
    consumer: str = "c",
    message: StoredMessage | None = None,
    of_channel: dict[int, Unacked] | None = None,
) -> Unacked:
    """Make a delivery that ``consumer`` has not settled."""
    delivery = Delivery(queue=queue.name, consumer=consumer, id=id)
    unacked = Unacked(
        message or StoredMessage(b"%d" % id), delivery, {} if of_channel is None else of_channel
    )
    queue.hold(unacked)
    return unacked


def waiting(queue: MemoryQueue) -> list[bytes]:
    """List the bytes of the waiting messages, in order."""
    return [message.body for message in queue]
