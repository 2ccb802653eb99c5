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

#: Part of a lease by which others must know less of a silence for it to be told to them: few writes, whoever watches.
REPORT_STEP_LEASE_SHARE = 0.05
#: Part of a lease between two looks from then on. What was seen since the last look is lost with a connection.
OVERDUE_POLL_LEASE_SHARE = 0.03


class Reaper:
    """Reaps by observation: a consumer is dead if its heartbeat counter was watched standing still for a whole lease.

    Of processes of this machine and user the scoreboard tells it, and at once (:mod:`gearmesh.scoreboard`): after both
    processes of a worker were killed, the next worker that starts here returns their deliveries to the queue.

    Time without a connection does not count, nor does a long pause between two looks: the cause that kept this process
    from looking may have kept others from sending heartbeats. The observations of other watchers count, see
    ``watch.lua``.

    Args:
        pause: seconds between two looks.
        clock: a monotonic one, in seconds.
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
        #: when we last looked, and through what, by queue
        self._looked_at = 0.0
        self._looked_through: dict[str, Any] = {}
        #: queue -> consumer -> heartbeat counter, and for how many seconds it was watched be that
        self._seen: dict[str, dict[bytes, tuple[bytes, float]]] = {}

    def look(self, queues: Iterable[str]) -> float:
        """Return the deliveries of dead consumers; seconds until the next look."""
        channel, now, pause = self._channel, self._clock(), self._pause
        while_connected = min(now - self._looked_at, 2 * pause)
        seen: dict[str, dict[bytes, tuple[bytes, float]]] = {}
        for queue in queues:
            look_at = partial(self._look_at, queue, while_connected, seen)
            pause = min(
                pause, channel.faults.tried(f"dead consumers of queue {queue!r} cannot be found", look_at)
            )
        # Only now: what raised on the way was no look, and the time is not counted.
        self._looked_at, self._seen = now, seen
        self._looked_through = {queue: channel.socket_to(queue) for queue in seen}
        return pause

    def _look_at(
        self, queue: str, while_connected: float, seen: dict[str, dict[bytes, tuple[bytes, float]]]
    ) -> float:
        """Return the deliveries of dead consumers of one queue, and note the living ones in ``seen``.

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
            except UnicodeDecodeError:  # another program put it there
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
