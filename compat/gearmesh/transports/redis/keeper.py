"""What a consuming channel does by the clock: heartbeats, reaping, delayed messages, those set aside."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import msgpack

from gearmesh.redis_scripts.commits import MAX_BYTES, MAX_ENTRIES
from gearmesh.redis_scripts.runner import run

if TYPE_CHECKING:
    from gearmesh.transports.redis.channel import Channel

__all__ = ["Keeper"]

log = logging.getLogger("gearmesh.redis")

#: Seconds between looks at what other consumers may have set aside.
ASIDE_PAUSE = 5.0
#: Milliseconds for which returned messages are left to others.
GRACE = 50
#: Part of a lease by which others must know less of a silence for it to be told to them: few writes, whoever watches.
TOLD_STEP = 0.05


class Keeper:
    """Runs in its channel's thread, between fetches. Times are the monotonic clock's."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._beat_pause = channel.lease / 3
        self._look_pause = min(1.5, channel.lease / 10)
        #: when we last looked at the others, and through what, by queue
        self._looked_at = 0.0
        self._looked_through: dict[str, Any] = {}
        self._next_beat = self._next_look = self._next_delayed = self._next_aside = 0.0
        #: queue -> when to fetch from it again
        self._again: dict[str, float] = {}
        #: queue -> consumer -> heartbeat counter, and for how many seconds it was watched be that
        self._seen: dict[str, dict[bytes, tuple[bytes, float]]] = {}

    def next(self) -> float:
        """When :meth:`run` has something to do."""
        aside = min(self._next_aside, self._channel.ledger.aside_due)
        return min(self._next_beat, self._next_look, self._next_delayed, aside, *self._again.values())

    def run(self) -> bool:
        """Do what is due; True if the channel delivered something on the way."""
        now = time.monotonic()
        delivered = False
        if now >= self._next_delayed:
            self._next_delayed = now + self._move_due()
        if now >= min(self._next_aside, self._channel.ledger.aside_due):
            self._channel.ledger.aside_due = float("inf")
            self._next_aside = now + self._return_aside()
        for queue in [queue for queue, due in self._again.items() if now >= due]:
            del self._again[queue]
            self._channel.ready.add(queue)
        if now >= self._next_look:
            self._next_look = now + self._look_pause
            self._look(now)
        if now >= self._next_beat:
            self._next_beat = now + self._beat_pause
            if self._channel.heartbeats:
                # Who has cancelled a consumer may still be busy with what it got.
                held = (delivery.queue for delivery in list(self._channel.ledger.open.values()))
                self._channel.heartbeat(self._channel.consumer, dict.fromkeys((*self._queues(), *held)))
            delivered = self._channel.check_held()
        return delivered

    def look_again(self, queue: str, pause: float) -> None:
        """Fetch from ``queue`` in ``pause`` seconds, and do not wait on it until then."""
        self._again[queue] = time.monotonic() + pause

    def waits(self, queue: str) -> bool:
        """True if :meth:`look_again` was said of ``queue`` and its time has not come."""
        return queue in self._again

    def _queues(self) -> list[str]:
        queues: list[str] = self._channel.active_queues
        return queues

    def _look(self, now: float) -> None:
        """Reap by observation: only who was watched standing still for a whole lease is dead.

        Time without a connection does not count, nor does a long pause between two looks: others may have been kept
        from speaking by what kept us from looking. What others have watched does, see ``watch.lua``.
        """
        channel = self._channel
        while_connected = min(now - self._looked_at, 2 * self._look_pause)
        seen: dict[str, dict[bytes, tuple[bytes, float]]] = {}
        for queue in self._queues():
            keys = channel.keys(queue)
            line = channel.line(queue)
            watched = while_connected if line is not None and line is self._looked_through.get(queue) else 0.0
            args: list[Any] = [channel.consumer, round(channel.lease * TOLD_STEP * 1000)]
            for consumer, (beat, still) in self._seen.get(queue, {}).items():
                args += [consumer, beat, int((still + watched) * 1000)]
            blob = run(channel.redis, "watch", [keys.consumers, keys.watched], args)
            rest = seen[queue] = {}
            for consumer, beat, ms in msgpack.unpackb(blob, raw=True):
                if ms >= channel.lease * 1000:
                    self._reap(queue, consumer, beat)
                else:
                    rest[consumer] = (beat, ms / 1000)
                    self._next_look = min(self._next_look, now + channel.lease - ms / 1000)
        # Only now: what raised on the way was no look, and the time is not counted.
        self._looked_at, self._seen = now, seen
        self._looked_through = {queue: channel.line(queue) for queue in seen}

    def _reap(self, queue: str, consumer: bytes, beat: bytes) -> None:
        name = consumer.decode()
        count = self._channel.take_over(name, queue, beat=beat, lost=True)
        if count > 0:
            log.warning(
                "consumer %s gave no sign of life for %g s: %d of its messages go back to %s",
                name,
                self._channel.lease,
                count,
                queue,
            )
            self._channel.ready.add(queue)

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
        pause = ASIDE_PAUSE
        for queue in self._queues():
            keys = channel.keys(queue)
            if not channel.redis.exists(keys.aside):
                continue
            wait = run(
                channel.redis,
                "return_aside",
                [keys.aside, queue, keys.out, keys.grace, keys.consumers],
                [MAX_ENTRIES, keys.wanted, GRACE, keys.held(""), keys.arrived("")],
            )
            channel.ready.add(queue)
            if wait >= 0:
                pause = min(pause, wait / 1000)
        return pause
