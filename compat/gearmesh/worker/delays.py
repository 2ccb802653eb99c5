"""What a worker has sent that is to wait in the broker, in case it gets lost on its way out of there.

RabbitMQ moves a message whose wait is over without a confirm to itself: killed a moment later, it has lost the message,
though it had confirmed it when the wait began. Nobody is told. So what was due shortly before the broker was gone, or
while it was, is sent again, as what may be a second copy.
"""

from __future__ import annotations

import threading
import time
from heapq import heappop, heappush
from typing import Final

from gearmesh.wire.commit import Publish

__all__ = ["Delays"]

#: Seconds after which a message that has left its wait is on RabbitMQ's disk for certain.
SAFE: Final = 5.0
#: Messages that are remembered at the most, and seconds for which they may wait.
MOST: Final = 10_000
LONGEST: Final = 3600.0


class Delays:
    """Safe in threads. Nothing is remembered across processes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: (leaves its wait at, unix ns; number; message), the next one first
        self._waiting: list[tuple[int, int, Publish]] = []
        self._number = 0
        self._away = False

    def note(self, publish: Publish, leaves_ns: int, now_ns: int) -> None:
        """This one was sent, and will leave its wait then."""
        with self._lock:
            if not self._away:
                self._forget(now_ns)
            if leaves_ns <= now_ns + LONGEST * 1e9 and len(self._waiting) < MOST:
                self._number += 1
                heappush(self._waiting, (leaves_ns, self._number, publish))

    def away(self) -> None:
        """The broker is gone."""
        with self._lock:
            if not self._away:
                self._forget(time.time_ns())
            self._away = True

    def back(self) -> tuple[Publish, ...]:
        """The broker is there again: what it may have lost. That is not remembered any more."""
        now = time.time_ns()
        lost = []
        with self._lock:
            while self._away and self._waiting and self._waiting[0][0] <= now:
                lost.append(heappop(self._waiting)[2])
            self._away = False
        return tuple(lost)

    def _forget(self, now: int) -> None:
        while self._waiting and self._waiting[0][0] < now - SAFE * 1e9:
            heappop(self._waiting)
