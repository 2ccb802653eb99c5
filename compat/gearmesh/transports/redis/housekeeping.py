"""Periodic work of a consuming channel: heartbeats, reaping, delayed and parked messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgpack

from gearmesh.redis_client.commit_script import MAX_BYTES, MAX_ENTRIES
from gearmesh.redis_client.runner import run
from gearmesh.transports.redis.queue_faults import FAULTS
from gearmesh.transports.redis.reaper import Reaper, ReapingChannel
from gearmesh.transports.redis.unacked import RedisUnackedDeliveries

__all__ = ["Housekeeping", "HousekeptChannel"]

#: Seconds between looks at what other consumers may have parked.
PARKED_CHECK_INTERVAL_S = 5.0
#: Milliseconds for which returned messages are left to others.
GRACE_MS = 50


class HousekeptChannel(ReapingChannel, Protocol):
    """The part of a channel that its housekeeping uses."""

    unacked: RedisUnackedDeliveries
    delayed_key: str
    delayed_poll: float
    heartbeats: bool

    @property
    def active_queues(self) -> list[str]:
        """The queues consumed from."""

    def heartbeat(self, consumer: str, queues: Iterable[str]) -> None:
        """Send a heartbeat for ``consumer`` to each of the queues."""

    def check_held(self) -> bool:
        """Deliver the messages that the server holds for this consumer and that no reply told of; True if any."""

    def move_due(self, due: Sequence[bytes]) -> None:
        """Move due messages from the delayed set to their queues."""

    def finish_outboxes(self) -> None:
        """Send the messages that other consumers have left in outboxes."""


class Housekeeping:
    """Sends heartbeats, reaps dead consumers, and releases delayed and parked messages when they are due.

    It runs in its channel's thread, between fetches. Times are those of the monotonic clock, in seconds.
    """

    def __init__(self, channel: HousekeptChannel) -> None:
        self._channel = channel
        self._beat_pause = channel.lease / 3
        self._reaper = Reaper(channel, min(1.5, channel.lease / 10))
        self._next_beat = self._next_look = self._next_delayed = self._next_aside = 0.0
        #: queue -> when to fetch from it again
        self._again: dict[str, float] = {}

    def next(self) -> float:
        """The moment at which :meth:`run` has something to do."""
        aside = min(self._next_aside, self._channel.unacked.aside_due)
        return min(self._next_beat, self._next_look, self._next_delayed, aside, *self._again.values())

    def run(self) -> bool:
        """Do the work that is due; True if the channel delivered a message on the way."""
        now = time.monotonic()
        delivered = False
        if now >= self._next_delayed:
            self._next_delayed = now + self._tried("delayed tasks cannot be moved", self._move_due)
        if now >= min(self._next_aside, self._channel.unacked.aside_due):
            self._channel.unacked.aside_due = float("inf")
            self._next_aside = now + self._tried("outboxes cannot be looked through", self._return_aside)
        for queue in [queue for queue, due in self._again.items() if now >= due]:
            del self._again[queue]
            self._channel.ready.add(queue)
        if now >= self._next_look:
            self._next_look = now + self._reaper.look(self._queues())
        if now >= self._next_beat:
            self._next_beat = now + self._beat_pause
            if self._channel.heartbeats:
                # The worker may still run tasks of a consumer that it has cancelled.
                held = (delivery.queue for delivery in list(self._channel.unacked.open.values()))
                queues = dict.fromkeys((*self._queues(), *held))
                self._tried(
                    "heartbeats cannot be sent",
                    lambda: self._channel.heartbeat(self._channel.consumer, queues),
                )
            delivered = self._channel.check_held()
        return delivered

    def _tried(self, what: str, work: Callable[[], float | None]) -> float:
        """Do some work; seconds until it is due again. If Redis refuses it, that is logged, with growing pauses."""
        try:
            pause = work()
        except FAULTS as exc:
            return self._channel.faults.note(what, exc)
        self._channel.faults.over(what)
        return pause or 0.0

    def look_again(self, queue: str, pause: float) -> None:
        """Fetch from ``queue`` in ``pause`` seconds, and do not wait on it until then."""
        self._again[queue] = time.monotonic() + pause

    def waits(self, queue: str) -> bool:
        """True if :meth:`look_again` was said of ``queue`` and its time has not come."""
        return queue in self._again

    def _queues(self) -> list[str]:
        queues: list[str] = self._channel.active_queues
        return queues

    def _move_due(self) -> float:
        """Move due messages to their queues; seconds until the next look."""
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
        channel = self._channel
        channel.finish_outboxes()
        pause = PARKED_CHECK_INTERVAL_S
        for queue in self._queues():
            what = f"parked messages cannot return to queue {queue!r}"
            try:
                wait = self._return_to(queue)
            except FAULTS as exc:
                channel.faults.note(what, exc)
                continue
            channel.faults.over(what)
            if wait >= 0:
                pause = min(pause, wait / 1000)
        return pause

    def _return_to(self, queue: str) -> int:
        """Return messages that were parked; ms until the next one is due, -1: there are none."""
        channel = self._channel
        keys = channel.keys(queue)
        if not channel.redis.exists(keys.aside):
            return -1
        wait: int = run(
            channel.redis,
            "return_aside",
            [keys.aside, queue, keys.out, keys.grace, keys.consumers],
            [MAX_ENTRIES, keys.wanted, GRACE_MS, keys.held(""), keys.arrived("")],
        )
        channel.ready.add(queue)
        return wait
