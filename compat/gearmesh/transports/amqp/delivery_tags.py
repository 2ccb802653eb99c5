"""The numbers of one channel's unsettled deliveries, and the shortest way to settle many of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING

from gearmesh.transports.amqp import frames

if TYPE_CHECKING:
    from gearmesh.transports.amqp.protocols import ConnectionPort, FrameHandler

__all__ = ["AckTracker"]


class AckTracker:
    """The deliveries that RabbitMQ sent on a channel since it was opened, in order.

    Hold the link's lock.

    Args:
        channel: learns what is settled.
        link: its connection.
        channel_id: its number there.
    """

    def __init__(self, channel: FrameHandler, link: ConnectionPort, channel_id: int) -> None:
        self.channel = channel
        self.link = link
        self.channel_id = channel_id
        #: False once RabbitMQ has closed the channel, which gave all of it back
        self.open = True
        self._order: deque[int] = deque()
        self._settled: set[int] = set()

    def delivered(self, tag: int) -> None:
        """Add a delivery; RabbitMQ numbers them upwards."""
        self._order.append(tag)

    def settle(self, acks: Collection[int], nacks: Collection[int] = ()) -> bytes:
        """Return the frames that acknowledge ``acks`` and put back ``nacks``.

        One frame acknowledges all deliveries up to the first that is not settled.
        """
        settled, order, channel = self._settled, self._order, self.channel_id
        settled.update(acks)
        settled.update(nacks)
        last = 0
        while order and order[0] in settled:
            last = order.popleft()
            settled.discard(last)
        # These come before the frame that covers many, which would acknowledge a delivery that must go back.
        out = [frames.nack(channel, tag) for tag in nacks]
        covered = [tag for tag in acks if tag <= last]
        if covered:
            out.append(frames.ack(channel, max(covered), multiple=True))
        out += [frames.ack(channel, tag) for tag in acks if tag > last]
        return b"".join(out)
