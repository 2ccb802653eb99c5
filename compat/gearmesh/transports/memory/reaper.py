"""The reaper of one channel: finds dead consumers by their heartbeats, never by comparing clocks."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from gearmesh.transports.memory.broker import Broker

__all__ = ["Reaper"]


class Reaper:
    """Observes the other consumers of a channel's queues, and recovers what the dead ones held.

    Args:
        broker: the broker of the queues.
        consumer: the channel's own name, which is never reaped.
        lease: seconds of the monotonic clock for which a heartbeat counter must stand still.
    """

    def __init__(self, broker: Broker, consumer: str, lease: float) -> None:
        self.lease = lease
        self._broker = broker
        self._consumer = consumer
        #: (queue, consumer) -> (heartbeat counter, since when it is known to stand there)
        self._seen: dict[tuple[str, str], tuple[int, float]] = {}

    def reap(self, queues: Iterable[str], now: float) -> float:
        """Recover the deliveries of consumers whose counter stood still for a whole lease.

        Returns the seconds until the next one may be due; infinity if no other consumer has unacked deliveries.
        """
        seen: dict[tuple[str, str], tuple[int, float]] = {}
        soonest = inf
        with self._broker.changed:
            for name in queues:
                queue = self._broker.queue(name)
                for consumer in [each for each in queue.unacked if each != self._consumer]:
                    counter = queue.heartbeats.get(consumer, 0)
                    old_counter, since = self._seen.get((name, consumer), (counter, now))
                    if counter != old_counter:
                        since = now
                    if now - since >= self.lease:
                        self._broker.recover(consumer, [name], crashed=True)
                    else:
                        seen[name, consumer] = counter, since
                        soonest = min(soonest, since + self.lease - now)
        self._seen = seen
        return soonest
