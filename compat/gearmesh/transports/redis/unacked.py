"""Records the deliveries that one consumer holds in Redis, and the waits that may bring it more."""

from __future__ import annotations

import time

from gearmesh.transports import unacked

__all__ = ["RedisUnackedDeliveries"]


class RedisUnackedDeliveries(unacked.UnackedDeliveries):
    """The unacked deliveries of one consumer, with its fetch numbers and blocking pops.

    A consumer that reconnects finds on the server the deliveries of a lost reply, under numbers that it reserved.

    Single operations are safe in threads; :meth:`reserve` belongs to the one thread that fetches.
    """

    def __init__(self, consumer: str | None = None) -> None:
        super().__init__(consumer)
        #: monotonic time at which the next message that a channel of this consumer has parked is due
        self.aside_due = float("inf")
        #: queues from which the consumer has ever fetched
        self.queues: set[str] = set()
        #: blocking waits that the server may still know of, each of which may bring one more message:
        #: (monotonic time at which it surely is over, queue)
        self.waits: set[tuple[float, str]] = set()
        # Microseconds: no consumer fetches faster, so the numbers are new even if a name is used again.
        self._first = self._next = time.time_ns() // 1000

    @property
    def used(self) -> bool:
        """True once a fetch was sent: the server may hold deliveries that no reply has named."""
        return self._next > self._first

    def waiting(self, queue: str) -> bool:
        """True if the server may still know of a blocking pop on ``queue``. Any thread may call it."""
        now = time.monotonic()
        for wait in list(self.waits):
            if wait[0] < now:
                self.waits.discard(wait)
        return any(waited == queue for _, waited in list(self.waits))

    def set_aside(self) -> None:
        """Note that a message was parked: it is due in 50 ms at the earliest. Any thread may call it."""
        due = time.monotonic() + 0.05
        if due < self.aside_due:
            self.aside_due = due
            if self.wake is not None:
                self.wake()

    def reserve(self, count: int) -> int:
        """Return the first of ``count`` fetch numbers that were never given out before."""
        first = self._next
        self._next += count
        return first
