"""What one consumer knows it holds in Redis, and what the server may hold for it besides."""

from __future__ import annotations

import time

from gearmesh.transports import unacked

__all__ = ["RedisUnackedDeliveries"]


class RedisUnackedDeliveries(unacked.UnackedDeliveries):
    """With the fetch counter. A consumer that reconnects finds on the server what a lost reply had given it.

    Single operations are safe in threads; :meth:`reserve` belongs to the one thread that fetches.
    """

    def __init__(self, consumer: str | None = None) -> None:
        super().__init__(consumer)
        #: when something parked through any channel is due, by the monotonic clock
        self.aside_due = float("inf")
        #: queues anything was ever fetched from
        self.queues: set[str] = set()
        #: blocking waits that the server may still know of, each of which may bring one more message:
        #: (monotonic time at which it surely is over, queue)
        self.waits: set[tuple[float, str]] = set()
        # Microseconds: nobody fetches faster, so should a name be used again its numbers are new all the same.
        self._first = self._next = time.time_ns() // 1000

    @property
    def used(self) -> bool:
        """True once anything was asked for: the server may hold what we never heard of."""
        return self._next > self._first

    def waiting(self, queue: str) -> bool:
        """True if the server may still know of a wait of ours on ``queue``. Any thread."""
        now = time.monotonic()
        for wait in list(self.waits):
            if wait[0] < now:
                self.waits.discard(wait)
        return any(waited == queue for _, waited in list(self.waits))

    def set_aside(self) -> None:
        """Something was parked: it is due in 50 ms at the earliest. Any thread."""
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
