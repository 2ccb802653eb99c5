"""Finds dead consumers and returns their deliveries to the queue."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgpack

from gearmesh.interfaces.transport import OVERDUE_LEASE_SHARE
from gearmesh.redis_client.runner import run
from gearmesh.scoreboard import crash_report
from gearmesh.transports.redis.connection import ConnectedChannel
from gearmesh.transports.redis.leases import Leases

__all__ = ["Reaper"]

log = logging.getLogger("gearmesh.redis")

#: A watcher stores a silence if it exceeds the stored one by this part of a lease. Few writes are then enough.
REPORT_STEP_LEASE_SHARE = 0.05
#: Part of a lease between two looks while a consumer is overdue. A lost connection loses the time since the last look.
OVERDUE_POLL_LEASE_SHARE = 0.03


class Reaper:
    """Reaps by observation: a consumer is dead if its heartbeat counter was watched standing still for a whole lease.

    The scoreboard (:mod:`gearmesh.scoreboard`) shows at once that a process of this machine and user is dead: after
    both processes of a worker were killed, the next worker that starts here returns their deliveries to the queue.

    Time without a connection does not count, nor does a long pause between two looks: the cause that kept this process
    from looking may have kept others from sending heartbeats. The observations of other watchers count, too; see
    ``watch.lua``.

    Args:
        pause: seconds between two looks.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        channel: ConnectedChannel,
        leases: Leases,
        pause: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel = channel
        self._leases = leases
        self._pause = pause
        self._clock = clock
        #: monotonic time of the last look, and the socket to the server then, by queue
        self._looked_at = 0.0
        self._looked_through: dict[str, Any] = {}
        #: queue -> consumer -> heartbeat counter, and the seconds for which we saw it stand still
        self._seen: dict[str, dict[bytes, tuple[bytes, float]]] = {}

    def look(self, queues: Iterable[str]) -> float:
        """Return the deliveries of dead consumers to their queues; return the seconds until the next look."""
        channel, now, pause = self._channel, self._clock(), self._pause
        while_connected = min(now - self._looked_at, 2 * pause)
        seen: dict[str, dict[bytes, tuple[bytes, float]]] = {}
        for queue in queues:
            look_at = partial(self._look_at, queue, while_connected, seen)
            pause = min(
                pause, channel.faults.tried(f"dead consumers of queue {queue!r} cannot be found", look_at)
            )
        # Only now, so that a look that raised an error does not count.
        self._looked_at, self._seen = now, seen
        self._looked_through = {queue: channel.socket_to(queue) for queue in seen}
        return pause

    def _look_at(
        self, queue: str, while_connected: float, seen: dict[str, dict[bytes, tuple[bytes, float]]]
    ) -> float:
        """Return the deliveries of one queue's dead consumers to it, and note the living consumers in ``seen``.

        Returns the seconds until the next look.
        """
        channel, lease, pause = self._channel, self._channel.lease, self._pause
        keys = channel.keys(queue)
        sock = channel.socket_to(queue)
        watched = while_connected if sock is not None and sock is self._looked_through.get(queue) else 0.0
        args: list[Any] = [channel.consumer, round(lease * REPORT_STEP_LEASE_SHARE * 1000)]
        for consumer, (beat, still) in self._seen.get(queue, {}).items():
            args += [consumer, beat, int((still + watched) * 1000)]
        blob = run(channel.redis, "watch", [keys.consumers, keys.watched], args)
        rest: dict[bytes, tuple[bytes, float]] = {}
        for consumer, beat, ms in msgpack.unpackb(blob, raw=True):
            try:
                name = consumer.decode()
            except UnicodeDecodeError:  # another program has written it
                continue
            left = crash_report(consumer)
            if left is not None:
                count = self._leases.recover_queue(
                    name, queue, lost=True, running=left.running, certain=left.certain
                )
                self._report(queue, name, count, "of this machine is dead")
            if ms >= lease * 1000:
                count = self._leases.recover_queue(name, queue, beat=beat, lost=True)
                self._report(queue, name, count, f"has sent no heartbeat for {lease:g} s")
            else:
                still = ms / 1000
                rest[consumer] = (beat, still)
                pause = min(pause, lease - still)
                if still > lease * OVERDUE_LEASE_SHARE:
                    pause = min(pause, lease * OVERDUE_POLL_LEASE_SHARE)
        seen[queue] = rest
        return pause

    def _report(self, queue: str, consumer: str, count: int, why: str) -> None:
        if count > 0:
            log.warning("consumer %s %s: returned %d of its messages to %s", consumer, why, count, queue)
            self._channel.unacked.count_reaped(queue, count)
            self._channel.ready.add(queue)
