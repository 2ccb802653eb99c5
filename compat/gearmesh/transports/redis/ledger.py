"""What one consumer knows it holds."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable

from gearmesh.wire.commit import Delivery

__all__ = ["Ledger"]


def consumer_name() -> str:
    """A name no other incarnation of any process has."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"


class Ledger:
    """The deliveries a consumer knows it holds, and its fetch counter.

    It outlives channels: a worker that reconnects goes on under its name, finds on the server what a lost
    reply had given it, and its committer settles through another channel. Single operations are safe in
    threads; :meth:`reserve` belongs to the one thread that fetches.
    """

    __slots__ = ("_next", "aside_due", "consumer", "open", "queues", "wake")

    def __init__(self, consumer: str | None = None) -> None:
        self.consumer = consumer or consumer_name()
        #: fetch counter -> delivery
        self.open: dict[int, Delivery] = {}
        #: when something set aside through any channel is due, by the monotonic clock
        self.aside_due = float("inf")
        #: ends the wait of the channel that fetches
        self.wake: Callable[[], None] | None = None
        #: queues anything was ever fetched from
        self.queues: set[str] = set()
        self._next = 1

    @property
    def used(self) -> bool:
        """True once anything was asked for: the server may hold what we never heard of."""
        return self._next > 1

    def set_aside(self) -> None:
        """Something was set aside: it is due in 50 ms at the earliest. Any thread."""
        due = time.monotonic() + 0.05
        if due < self.aside_due:
            self.aside_due = due
            if self.wake is not None:
                self.wake()

    def reserve(self, count: int) -> int:
        """The first of ``count`` numbers never given out before, whether or not they get used."""
        first = self._next
        self._next += count
        return first
