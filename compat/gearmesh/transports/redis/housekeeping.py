"""Periodic work of a consuming channel: heartbeats, reaping, delayed and parked messages."""

from __future__ import annotations

import time
from functools import partial

import msgpack

from gearmesh.redis_client.chunks import MAX_BYTES, MAX_ENTRIES
from gearmesh.redis_client.runner import run
from gearmesh.transports.redis.connection import ConnectedChannel
from gearmesh.transports.redis.fetching import Fetcher
from gearmesh.transports.redis.leases import Leases
from gearmesh.transports.redis.reaper import Reaper

__all__ = ["Housekeeping"]

#: Seconds between looks for messages that other consumers may have parked.
PARKED_CHECK_INTERVAL_S = 5.0
#: Milliseconds for which gearmesh leaves returned messages to others: in the first half to other programs, in the
#: second half to consumers that have not received them yet.
GRACE_MS = 50


class Housekeeping:
    """Sends heartbeats, reaps dead consumers, and releases delayed and parked messages when they are due.

    It runs in its channel's thread, between fetches. Times are those of the monotonic clock, in seconds.
    """

    def __init__(self, channel: ConnectedChannel, leases: Leases, fetcher: Fetcher) -> None:
        self._channel = channel
        self._leases = leases
        self._fetcher = fetcher
        self._beat_pause = channel.lease / 3
        self._reaper = Reaper(channel, leases, min(1.5, channel.lease / 10))
        self._next_beat = self._next_look = self._next_delayed = self._next_aside = 0.0

    def next(self) -> float:
        """Return the next moment at which :meth:`run` has something to do."""
        aside = min(self._next_aside, self._channel.unacked.aside_due)
        put_off = self._fetcher.put_off_until.values()
        return min(self._next_beat, self._next_look, self._next_delayed, aside, *put_off)

    def run(self) -> bool:
        """Do the work that is due; True if that has delivered a message."""
        now, channel = time.monotonic(), self._channel
        tried = channel.faults.tried
        if now >= self._next_delayed:
            self._next_delayed = now + tried("delayed tasks cannot be moved", self._move_due)
        if now >= min(self._next_aside, channel.unacked.aside_due):
            channel.unacked.aside_due = float("inf")
            self._next_aside = now + tried("outboxes cannot be read", self._return_aside)
        self._fetcher.end_pauses(now)
        if now >= self._next_look:
            self._next_look = now + self._reaper.look(channel.active_queues)
        if now < self._next_beat:
            return False
        self._next_beat = now + self._beat_pause
        if channel.heartbeats:
            tried("heartbeats cannot be sent", self._beat)
        return self._fetcher.reclaim_unknown()

    def _beat(self) -> None:
        # The worker may still run tasks of a queue whose consumer it has cancelled.
        held = (delivery.queue for delivery in list(self._channel.unacked.open.values()))
        queues = dict.fromkeys((*self._channel.active_queues, *held))
        self._leases.heartbeat(self._channel.consumer, queues)

    def _move_due(self) -> float:
        """Move due messages to their queues; return the seconds until the next look."""
        channel = self._channel
        key = channel.delayed_key
        pause: float = channel.delayed_poll
        if not channel.redis.exists(key):
            return pause
        until = time.monotonic() + channel.lease / 10
        while time.monotonic() < until:
            blob = run(channel.redis, "due", [key], [MAX_ENTRIES, MAX_BYTES])
            due, wait = msgpack.unpackb(blob, raw=True)
            if not due:
                return pause if wait < 0 else min(pause, wait / 1000)
            channel.move_due(due)
            channel.ready.update(channel.active_queues)
        return 0.0

    def _return_aside(self) -> float:
        """Let due parked messages return to their queues; return the seconds until the next look."""
        self._channel.finish_outboxes()
        pause = PARKED_CHECK_INTERVAL_S
        for queue in self._channel.active_queues:
            what = f"parked messages cannot return to queue {queue!r}"
            pause = min(pause, self._channel.faults.tried(what, partial(self._return_to, queue)))
        return pause

    def _return_to(self, queue: str) -> float:
        """Let due parked messages return to one queue; return the seconds until the next one is due."""
        channel = self._channel
        keys = channel.keys(queue)
        if not channel.redis.exists(keys.aside):
            return PARKED_CHECK_INTERVAL_S
        wait: int = run(
            channel.redis,
            "return_aside",
            [keys.aside, queue, keys.out, keys.grace, keys.consumers],
            [MAX_ENTRIES, keys.wanted, GRACE_MS, keys.held(""), keys.arrived("")],
        )
        channel.ready.add(queue)
        return wait / 1000 if wait >= 0 else PARKED_CHECK_INTERVAL_S
