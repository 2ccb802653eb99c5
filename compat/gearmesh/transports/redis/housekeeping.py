"""What a consuming channel does by the clock: heartbeats, reaping, delayed messages, those parked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgpack

from gearmesh.redis_client.commit_script import MAX_BYTES, MAX_ENTRIES
from gearmesh.redis_client.runner import run
from gearmesh.transports.redis.queue_faults import FAULTS
from gearmesh.transports.redis.reaper import Reaper

if TYPE_CHECKING:
    from gearmesh.transports.redis.channel import Channel

__all__ = ["Housekeeping"]

#: Seconds between looks at what other consumers may have parked.
PARKED_CHECK_INTERVAL_S = 5.0
#: Milliseconds for which returned messages are left to others.
GRACE_MS = 50


class Housekeeping:
    """Runs in its channel's thread, between fetches. Times are the monotonic clock's."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._beat_pause = channel.lease / 3
        self._watch = Reaper(channel, min(1.5, channel.lease / 10))
        self._next_beat = self._next_look = self._next_delayed = self._next_aside = 0.0
        #: queue -> when to fetch from it again
        self._again: dict[str, float] = {}

    def next(self) -> float:
        """When :meth:`run` has something to do."""
        aside = min(self._next_aside, self._channel.ledger.aside_due)
        return min(self._next_beat, self._next_look, self._next_delayed, aside, *self._again.values())

    def run(self) -> bool:
        """Do what is due; True if the channel delivered something on the way."""
        now = time.monotonic()
        delivered = False
        if now >= self._next_delayed:
            self._next_delayed = now + self._tried("delayed tasks cannot be moved", self._move_due)
        if now >= min(self._next_aside, self._channel.ledger.aside_due):
            self._channel.ledger.aside_due = float("inf")
            self._next_aside = now + self._tried("outboxes cannot be looked through", self._return_aside)
        for queue in [queue for queue, due in self._again.items() if now >= due]:
            del self._again[queue]
            self._channel.ready.add(queue)
        if now >= self._next_look:
            self._next_look = now + self._watch.look(self._queues())
        if now >= self._next_beat:
            self._next_beat = now + self._beat_pause
            if self._channel.heartbeats:
                # Who has cancelled a consumer may still be busy with what it got.
                held = (delivery.queue for delivery in list(self._channel.ledger.open.values()))
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
            return self._channel.troubles.note(what, exc)
        self._channel.troubles.over(what)
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
                channel.troubles.note(what, exc)
                continue
            channel.troubles.over(what)
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
