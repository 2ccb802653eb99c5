"""Limited rates within one process, for brokers that can't keep them for all."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from typing import Final

from gearmesh.interfaces.transport import RateRequest
from gearmesh.shared import SharedByName

__all__ = ["RATE_LIMITERS", "LocalRateLimiter"]


#: Nanoseconds after its time for which a reservation is kept: a message waits longer than that only in a long queue,
#: and then it gets another reservation.
RESERVATION_GRACE_NS: Final = 60 * 10**9


class LocalRateLimiter:
    """Hands out the moments at which tasks may run. Safe in threads."""

    def __init__(self, name: str = "") -> None:
        self._lock = threading.Lock()
        #: (queue, task) -> unix ns from which on it may run again
        self._free: dict[tuple[str, str], int] = {}
        #: (queue, task, bytes) -> the unix ns that are reserved for it, the earliest first
        self._reserved: dict[tuple[str, str, bytes], deque[int]] = {}
        #: the same as a heap of (reserved unix ns, spot), so that those which nobody came for can be dropped
        self._by_time: list[tuple[int, tuple[str, str, bytes]]] = []

    def reserve(self, request: RateRequest, now_ns: int | None = None) -> int:
        """0: its task may run now; else the unix ns of a moment reserved for these bytes.

        Another process may get the message when it comes back. Its reservation here is dropped a while after its time.
        """
        now_ns = time.time_ns() if now_ns is None else now_ns
        spot = (request.queue, request.task, request.body)
        with self._lock:
            self._drop_unclaimed(now_ns)
            if self._take(spot):
                return 0
            free = max(now_ns, self._free.get(spot[:2], 0))
            self._free[spot[:2]] = free + round(request.pause * 1e9)
            if free <= now_ns:
                return 0
            self._reserved.setdefault(spot, deque()).append(free)
            heapq.heappush(self._by_time, (free, spot))
            return free

    def _take(self, spot: tuple[str, str, bytes], until_ns: int | None = None) -> bool:
        """Use up the earliest reservation, if it is for ``until_ns`` or sooner; None: for any time."""
        times = self._reserved.get(spot)
        if not times or (until_ns is not None and times[0] > until_ns):
            return False
        times.popleft()
        if not times:
            del self._reserved[spot]
        return True

    def _drop_unclaimed(self, now_ns: int) -> None:
        while self._by_time and self._by_time[0][0] < now_ns - RESERVATION_GRACE_NS:
            at_ns, spot = heapq.heappop(self._by_time)
            # A reservation that was used is still in the heap; a later one of the same message is not for it to drop.
            self._take(spot, at_ns)


#: The rates of this process by broker; they live as long as one connection to it.
RATE_LIMITERS: Final = SharedByName(LocalRateLimiter)
