"""Finds dead consumers by watching their heartbeats, never by comparing clocks."""

from __future__ import annotations

from collections.abc import Collection
from math import inf

from gearmesh.transports.memory.queue import MemoryQueue

__all__ = ["Reaper"]


class Reaper:
    """One channel's observations of the other consumers of its queues.

    Args:
        lease: seconds of the observer's own monotonic clock that a counter must stand still.
    """

    def __init__(self, lease: float) -> None:
        self.lease = lease
        #: (queue, consumer) -> (heartbeat counter, since when it is known to stand there)
        self._seen: dict[tuple[str, str], tuple[int, float]] = {}

    def look(self, lines: Collection[MemoryQueue], me: str, now: float) -> float:
        """Put back what consumers held that stood still for a whole lease.

        Returns seconds until the next one may be due; infinity when nobody else holds anything.
        """
        seen: dict[tuple[str, str], tuple[int, float]] = {}
        soonest = inf
        for line in lines:
            for consumer in [c for c in line.held if c != me]:
                key, beat = (line.name, consumer), line.beats.get(consumer, 0)
                counter, since = self._seen.get(key, (beat, now))
                if counter != beat:
                    since = now
                if now - since >= self.lease:
                    line.recover(consumer, lost=True)
                else:
                    seen[key] = beat, since
                    soonest = min(soonest, since + self.lease - now)
        self._seen = seen
        return soonest
