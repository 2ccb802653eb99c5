"""The delivery tags of one channel's unsettled deliveries, and the fewest frames that settle many of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING

from gearmesh.transports.amqp import frames

if TYPE_CHECKING:
    from gearmesh.transports.amqp.protocols import ConnectionPort, FrameHandler

__all__ = ["AckTracker"]


class AckTracker:
    """Tracks the deliveries that RabbitMQ has sent on a channel since it was opened, in order.

    Hold the connection's lock for each call.

    Args:
        channel: the channel, to which the commit engine reports settled deliveries.
        link: the channel's connection.
        channel_id: the channel's number on the connection.
    """

    def __init__(self, channel: FrameHandler, link: ConnectionPort, channel_id: int) -> None:
        self.channel = channel
        self.link = link
        self.channel_id = channel_id
        #: False once RabbitMQ has closed the channel, and so returned its deliveries
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
        # Nacks come before the frame that acknowledges many, which would acknowledge these deliveries, too.
        out = [frames.nack(channel, tag) for tag in nacks]
        covered = [tag for tag in acks if tag <= last]
        if covered:
            out.append(frames.ack(channel, max(covered), multiple=True))
        out += [frames.ack(channel, tag) for tag in acks if tag > last]
        return b"".join(out)
