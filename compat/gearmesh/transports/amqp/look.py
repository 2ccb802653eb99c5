"""A look takes messages of a queue and puts them back in their places: RabbitMQ cannot show them otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

__all__ = ["MAX_CHANNELS", "RETURNED_IN_ORDER", "Look"]

#: Number of messages that a look takes over one channel. When the channel is closed, a quorum queue puts them back in
#: the order of their delivery tags as texts ("10" before "2"), and more than 32 in any order. Then a parked message
#: might be late, behind one that expires later.
RETURNED_IN_ORDER: Final = 9
#: Number of channels of one look; the last one takes all other messages.
MAX_CHANNELS: Final = 128
#: Seconds that a look waits at most, in all, until a queue has its messages back.
MAX_RETURN_S: Final = 0.5


class Look:
    """Takes the messages of one queue, the first ones first; :meth:`close` gives back those without an ack.

    Args:
        queue: the name of the queue, which must exist.
        open_channel: opens a channel of py-amqp's.
        max_channels: the look opens no more channels than this.
    """

    def __init__(self, queue: str, open_channel: Callable[[], Any], max_channels: int = MAX_CHANNELS) -> None:
        self.queue = queue
        self.channels: list[Any] = []
        self.taken: list[Any] = []
        self._open_channel = open_channel
        self._max_channels = max_channels

    def __iter__(self) -> Iterator[Any]:
        """Take one message after another, until the queue has no more."""
        while True:
            if (
                len(self.taken) == len(self.channels) * RETURNED_IN_ORDER
                and len(self.channels) < self._max_channels
            ):
                self.channels.append(self._open_channel())
            message = self.channels[-1].basic_get(self.queue)
            if message is None:
                return
            self.taken.append(message)
            yield message

    def put_back(self, count: Callable[[], tuple[int, int]]) -> None:
        """Give all messages back in their order, if none of them has got an ack.

        RabbitMQ may answer that a channel is closed before a quorum queue has its messages back. Those of the next
        channel could overtake them. If the queue has consumers, they may take the messages at once, so the count says
        nothing, and this does not wait.

        Args:
            count: counts the waiting messages of the queue, and its consumers.
        """
        deadline = time.monotonic() + MAX_RETURN_S
        for channel, _ in groupby(self.taken, key=attrgetter("channel")):
            waiting, consumers = count()
            channel.close()
            while not consumers and count()[0] <= waiting and time.monotonic() < deadline:
                time.sleep(0.001)

    def close(self) -> None:
        """Give all messages back that have got no ack.

        A closed channel puts them in their places. After a reject, the next look might see only a part of the queue.
        And a quorum queue without a delivery-limit puts messages at its tail that a client rejects or recovers.
        """
        for channel in self.channels:
            channel.close()
