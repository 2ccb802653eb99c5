"""Rate limits within one process, for brokers that cannot count for all workers."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from typing import Final

from gearmesh.interfaces.transport import RateRequest
from gearmesh.shared import SharedByName

__all__ = ["RATE_LIMITERS", "LocalRateLimiter"]

#: Nanoseconds for which a reservation is kept after its moment. A message waits longer than that only in a long queue,
#: and gets another reservation then.
RESERVATION_GRACE_NS: Final = 60 * 10**9


class LocalRateLimiter:
    """Reserves the moments at which tasks with a rate may run. Safe in threads."""

    def __init__(self, name: str = "") -> None:
        self._lock = threading.Lock()
        #: (queue, task) -> unix ns at which the next free moment begins
        self._free: dict[tuple[str, str], int] = {}
        #: (queue, task, bytes) -> reserved moments in unix ns, the earliest first
        self._reserved: dict[tuple[str, str, bytes], deque[int]] = {}
        #: the same as a heap of (unix ns, key), so that a reservation can be dropped if its message does not return
        self._by_time: list[tuple[int, tuple[str, str, bytes]]] = []

    def reserve(self, request: RateRequest, now_ns: int | None = None) -> int:
        """Return 0 if the task may run now, else the unix nanoseconds of a moment reserved for these bytes.

        Another process may get the message when it returns; the reservation here is dropped a minute after its moment.

        Args:
            request: the task, its rate and the message.
            now_ns: unix nanoseconds; None: now.
        """
        now_ns = time.time_ns() if now_ns is None else now_ns
        key = (request.queue, request.task, request.body)
        with self._lock:
            self._drop_unclaimed(now_ns)
            if self._take(key):
                return 0
            free = max(now_ns, self._free.get(key[:2], 0))
            self._free[key[:2]] = free + round(request.pause * 1e9)
            if free <= now_ns:
                return 0
            self._reserved.setdefault(key, deque()).append(free)
            heapq.heappush(self._by_time, (free, key))
            return free

    def _take(self, key: tuple[str, str, bytes], until_ns: int | None = None) -> bool:
        """Remove the key's earliest reservation if it is for ``until_ns`` or sooner; None: for any time."""
        times = self._reserved.get(key)
        if not times or (until_ns is not None and times[0] > until_ns):
            return False
        times.popleft()
        if not times:
            del self._reserved[key]
        return True

    def _drop_unclaimed(self, now_ns: int) -> None:
        while self._by_time and self._by_time[0][0] < now_ns - RESERVATION_GRACE_NS:
            at_ns, key = heapq.heappop(self._by_time)
            # A used reservation is still in the heap. It must not drop a later one of the same message.
            self._take(key, at_ns)


#: The limiters of this process by broker; each lives as long as a connection to that broker.
RATE_LIMITERS: Final = SharedByName(LocalRateLimiter)
