"""Limited rates within one process, for brokers that can't keep them for all."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Final

from gearmesh.named import Named
from gearmesh.transports.base import Rated

__all__ = ["RATES", "Rates"]


class Rates:
    """Hands out the moments at which tasks may run. Safe in threads."""

    def __init__(self, name: str = "") -> None:
        self._lock = threading.Lock()
        #: (queue, task) -> unix ns from which on it may run again
        self._free: dict[tuple[str, str], int] = {}
        #: (queue, task, bytes) -> moments reserved
        self._reserved: Counter[tuple[str, str, bytes]] = Counter()

    def admit(self, request: Rated, now_ns: int | None = None) -> int:
        """0: its task may run now; else the unix ns of a moment reserved for these bytes."""
        now_ns = time.time_ns() if now_ns is None else now_ns
        spot = (request.queue, request.task, request.body)
        with self._lock:
            if self._reserved[spot]:
                self._reserved[spot] -= 1
                if not self._reserved[spot]:
                    del self._reserved[spot]
                return 0
            free = max(now_ns, self._free.get(spot[:2], 0))
            self._free[spot[:2]] = free + round(request.pause * 1e9)
            if free <= now_ns:
                return 0
            self._reserved[spot] += 1
            return free


#: The rates of this process by broker; they live as long as one connection to it.
RATES: Final = Named(Rates)
