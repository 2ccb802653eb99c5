"""Finds dead consumers and returns their deliveries to the queue."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgpack

from gearmesh.redis_client.runner import run
from gearmesh.scoreboard import CrashReport, crash_report
from gearmesh.transports.redis.leases import Leases
from gearmesh.transports.redis.queue_faults import FAULTS, QueueFaults
from gearmesh.wire.names import QueueKeys

__all__ = ["Reaper", "ReapingChannel"]

log = logging.getLogger("gearmesh.redis")

#: Part of a lease by which others must know less of a silence for it to be told to them: few writes, whoever watches.
REPORT_STEP_LEASE_SHARE = 0.05
#: Part of a lease after which a heartbeat is overdue: they come three times a lease.
OVERDUE_LEASE_SHARE = 0.4
#: Part of a lease between two looks from then on. What was seen since the last look is lost with a connection.
OVERDUE_POLL_LEASE_SHARE = 0.03


class ReapingChannel(Protocol):
    """The part of a channel that a reaper uses."""

    redis: Any
    consumer: str
    lease: float
    leases: Leases
    faults: QueueFaults
    #: queues worth a fetch: not known to be empty
    ready: set[str]

    def keys(self, queue: str) -> QueueKeys:
        """The keys around ``queue``."""

    def socket_to(self, queue: str) -> Any:
        """The socket to the server of ``queue``: another object after each new connection, None without one."""


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
        self, channel: ReapingChannel, pause: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._channel = channel
        self._pause = pause
        self._clock = clock
        #: when we last looked, and through what, by queue
        self._looked_at = 0.0
        self._looked_through: dict[str, Any] = {}
        #: queue -> consumer -> heartbeat counter, and for how many seconds it was watched be that
        self._seen: dict[str, dict[bytes, tuple[bytes, float]]] = {}

    def look(self, queues: Iterable[str]) -> float:
        """Return the deliveries of dead consumers; seconds until the next look."""
        channel, now = self._channel, self._clock()
        pause = self._pause
        while_connected = min(now - self._looked_at, 2 * pause)
        seen: dict[str, dict[bytes, tuple[bytes, float]]] = {}
        for queue in queues:
            what = f"dead consumers of queue {queue!r} cannot be found"
            try:
                rest, soon = self._look_at(queue, while_connected)
            except FAULTS as exc:
                channel.faults.note(what, exc)
                continue
            channel.faults.over(what)
            seen[queue] = rest
            pause = min(pause, soon)
        # Only now: what raised on the way was no look, and the time is not counted.
        self._looked_at, self._seen = now, seen
        self._looked_through = {queue: channel.socket_to(queue) for queue in seen}
        return pause

    def _look_at(self, queue: str, while_connected: float) -> tuple[dict[bytes, tuple[bytes, float]], float]:
        """Return the deliveries of dead consumers of one queue; the living ones, and seconds until the next look."""
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
                self._return_from_dead(queue, name, left)
            if ms >= lease * 1000:
                self._reap(queue, name, beat)
            else:
                still = ms / 1000
                rest[consumer] = (beat, still)
                pause = min(pause, lease - still)
                if still > lease * OVERDUE_LEASE_SHARE:
                    pause = min(pause, lease * OVERDUE_POLL_LEASE_SHARE)
        return rest, pause

    def _return_from_dead(self, queue: str, consumer: str, left: CrashReport) -> None:
        count = self._channel.leases.recover_queue(
            consumer, queue, lost=True, running=left.running, certain=left.certain
        )
        if count:
            log.warning(
                "consumer %s of this machine is dead: returned %d of its messages to %s",
                consumer,
                count,
                queue,
            )
            self._channel.ready.add(queue)

    def _reap(self, queue: str, consumer: str, beat: bytes) -> None:
        count = self._channel.leases.recover_queue(consumer, queue, beat=beat, lost=True)
        if count > 0:
            log.warning(
                "consumer %s has sent no heartbeat for %g s: returned %d of its messages to %s",
                consumer,
                self._channel.lease,
                count,
                queue,
            )
            self._channel.ready.add(queue)
