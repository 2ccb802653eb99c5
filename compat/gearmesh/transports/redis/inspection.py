"""Lists, counts and deletes the messages of a queue, for people and commands."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
from redis.exceptions import ResponseError

from gearmesh.errors import RemoteProtocolError
from gearmesh.interfaces.transport import (
    ConsumerReport,
    DeadLetter,
    DelayedMessage,
    DeletedCallback,
    ParkedMessage,
    QueueCounts,
)
from gearmesh.redis_client.chunks import MAX_ENTRIES, batches
from gearmesh.redis_client.runner import run
from gearmesh.scoreboard import crash_report
from gearmesh.transports.redis.connection import ConnectedChannel
from gearmesh.transports.redis.message import target_queue
from gearmesh.wire.codec import decode
from gearmesh.wire.names import PREFIX, queue_of

__all__ = ["Inspector", "delayed_message", "letter_of"]

#: Unix nanoseconds of a year that no date can have.
MAX_ETA_NS = 10.0**22
#: A heartbeat counter above this is a time (unix ms); one below counts the fetches before the first heartbeat.
FIRST_BEAT_MS = 10**12
#: Number of keys that one step of a search looks at.
SCAN_COUNT = 1000
#: Number of waiting messages among which :meth:`Inspector.parked` looks for parked ones that have returned.
MAX_LOOKED_AT_MESSAGES = 1000
#: End of the mark of a message that is parked because of its task's rate. Other marks end in the SHA-1 of the task's
#: name.
RATED_MARK_SUFFIX = b"/" + b"0" * 40


class Inspector:
    """Has the verbs for people and commands: lists, counts and deletes messages without consuming them.

    :class:`gearmesh.interfaces.transport.SupportsInspection` describes each verb.
    """

    def __init__(self, channel: ConnectedChannel) -> None:
        self._channel = channel

    def pending(self, queue: str, limit: int = 1000) -> list[bytes]:
        items: list[bytes] = self._channel.redis.lrange(queue, 0, limit - 1)
        return items

    def delayed(self, limit: int = 1000) -> list[DelayedMessage]:
        rows = self._channel.redis.zrange(self._channel.delayed_key, 0, limit - 1, withscores=True)
        return [delayed_message(body, score) for body, score in rows]

    def dead_letters(self, queue: str, limit: int = 1000) -> list[DeadLetter]:
        keys = self._channel.keys(queue)
        letters = []
        for digest in self._channel.redis.zrange(keys.dead, 0, limit - 1):
            row = self._channel.redis.hgetall(keys.dead_entry + digest.decode())
            if row:
                letters.append(letter_of(queue, row))
        return letters

    def queues(self) -> list[str]:
        # gearmesh's keys for a queue contain its name. A list without such keys may be a queue that only Go has used so
        # far: it is a queue if its first item is a signature. The search is slow where there are many keys, but does
        # not block the server.
        found = set()
        for key in self._channel.redis.scan_iter(match=f"{PREFIX}*", count=SCAN_COUNT):
            if (queue := queue_of(key.decode("utf-8", "replace"))) is not None:
                found.add(queue)
        for key in self._channel.redis.scan_iter(_type="list", count=SCAN_COUNT):
            name = key.decode("utf-8", "replace")
            if not name.startswith(PREFIX) and name not in found and self.is_queue(key):
                found.add(name)
        return sorted(queue for queue in found if self._in_use(queue))

    def _in_use(self, queue: str) -> bool:
        try:
            return any(msgspec.structs.astuple(self.count(queue))[1:])
        except ResponseError:  # another program uses one of its keys now
            return False

    def is_queue(self, key: bytes) -> bool:
        """True if the first item of the list under this key is a signature."""
        try:
            first = self._channel.redis.lindex(key, 0)
            return first is not None and bool(decode(first).Name)
        except (ResponseError, RemoteProtocolError):  # the list is gone, or its items are not signatures
            return False

    def count(self, queue: str) -> QueueCounts:
        keys = self._channel.keys(queue)
        with self._channel.redis.pipeline(transaction=False) as pipe:
            pipe.llen(queue)
            pipe.zcard(keys.aside)
            pipe.zcard(keys.dead)
            pipe.hgetall(keys.consumers)
            pipe.hgetall(keys.watched)
            pipe.time()
            pending, parked, dead, consumers, watched, now = pipe.execute()
            for consumer in map(bytes.decode, consumers):
                pipe.hlen(keys.held(consumer))
                pipe.llen(keys.arrived(consumer))
            held = sum(pipe.execute())
        silent = sum(
            ConsumerReport("", [], _silent_s(name, beat, watched.get(name, b""), now)).is_silent(
                self._channel.lease
            )
            for name, beat in consumers.items()
        )
        counts = {"pending": pending, "held": held, "parked": parked, "dead": dead, "silent": silent}
        return QueueCounts(queue=queue, consumers=len(consumers) - silent, **counts)

    def consumers(self, queue: str) -> list[ConsumerReport]:
        keys = self._channel.keys(queue)
        with self._channel.redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.consumers)
            pipe.hgetall(keys.watched)
            pipe.time()
            beats, watched, now = pipe.execute()
            names = sorted(beats)
            for name in names:
                pipe.hvals(keys.held(name.decode()))
                pipe.lrange(keys.arrived(name.decode()), 0, -1)
            bodies = pipe.execute()
        return [
            ConsumerReport(
                name.decode(),
                [*held, *arrived],
                _silent_s(name, beats[name], watched.get(name, b""), now),
            )
            for name, held, arrived in zip(names, bodies[::2], bodies[1::2], strict=True)
        ]

    def parked(self, queue: str, limit: int) -> list[ParkedMessage]:
        keys = self._channel.keys(queue)
        members = self._channel.redis.zrange(keys.aside, 0, limit - 1, withscores=True)
        away = [(*member.partition(b"\n"), due) for member, due in members]
        waiting = self._channel.redis.lrange(queue, 0, MAX_LOOKED_AT_MESSAGES - 1)
        with self._channel.redis.pipeline(transaction=False) as pipe:
            for body in [*(body for _, _, body, _ in away), *waiting]:
                pipe.get(keys.seen + hashlib.sha1(body, usedforsecurity=False).hexdigest())
            seen = pipe.execute()
        parked = []
        for (mark, _, body, due), first in zip(away, seen, strict=False):
            rated = mark.endswith(RATED_MARK_SUFFIX)
            parked.append(
                ParkedMessage(body, due / 1000, None if rated or first is None else _first_met(first))
            )
        for body, first in zip(waiting, seen[len(away) :], strict=True):
            if first is not None:
                parked.append(ParkedMessage(body, None, _first_met(first)))
        return parked[:limit]

    def purge(self, queue: str, gone: DeletedCallback | None = None) -> int:
        aside = self._channel.keys(queue).aside
        if gone is None:
            return int(run(self._channel.redis, "purge", [queue, aside], []))
        redis, total = self._channel.redis, 0

        def take_parked(most: int) -> list[bytes]:
            members = redis.zrange(aside, 0, most - 1)
            with redis.pipeline(transaction=False) as pipe:
                for member in members:
                    pipe.zrem(aside, member)
                removed = pipe.execute()
            return [m.partition(b"\n")[2] for m, done in zip(members, removed, strict=True) if done]

        for there, take in (
            (redis.llen(queue), partial(redis.lpop, queue)),
            (redis.zcard(aside), take_parked),
        ):
            count = 0
            while count < there and (bodies := take(min(MAX_ENTRIES, there - count))):
                count += len(bodies)
                gone(bodies)
            total += count
        return total

    def purge_delayed(self, queue: str, gone: DeletedCallback | None = None) -> int:
        redis, key, default = self._channel.redis, self._channel.delayed_key, self._channel.default_queue
        count = 0
        for body, _ in redis.zscan_iter(key, count=MAX_ENTRIES):
            if target_queue(body, default) == queue and redis.zrem(key, body):
                count += 1
                if gone is not None:
                    gone([body])
        return count

    def take_dead(self, queue: str, ids: Sequence[str], *, retry: bool) -> int:
        keys = self._channel.keys(queue)
        how = "retry" if retry else "drop"
        return sum(
            int(run(self._channel.redis, "dead", [keys.dead, queue], [keys.dead_entry, how, *part]))
            for part in batches(ids)
        )


def delayed_message(body: bytes, score: float) -> DelayedMessage:
    """Make a DelayedMessage from a member and its score, which may be any number; an ETA is a whole one."""
    return DelayedMessage(body, int(max(-MAX_ETA_NS, min(score, MAX_ETA_NS))))


def letter_of(queue: str, row: Mapping[bytes, bytes]) -> DeadLetter:
    """Make a DeadLetter from its hash in Redis."""
    return DeadLetter(
        queue=queue,
        body=row[b"body"],
        reason=row[b"reason"].decode("utf-8", "replace"),
        count=int(row[b"count"]),
        first=int(row[b"first"]) / 1000,
        last=int(row[b"last"]) / 1000,
    )


def _silent_s(consumer: bytes, beat: bytes, watched: bytes, now: tuple[int, int]) -> float | None:
    """Return the seconds since a consumer's last heartbeat, as :class:`ConsumerReport` has them.

    Args:
        consumer: the consumer's name.
        beat: its heartbeat counter.
        watched: one of its heartbeat counters, and the ms for which others saw that counter stand still; see
            ``watch.lua``.
        now: the server's time.
    """
    counter = int(beat)
    if counter == 0 or crash_report(consumer) is not None:
        return float("inf")
    watched_counter, _, ms = watched.partition(b" ")
    seen = int(ms) / 1000 if watched_counter == beat and ms.isdigit() else None
    if counter > FIRST_BEAT_MS:
        return max(seen or 0.0, now[0] + now[1] / 1e6 - counter / 1000)
    return seen


def _first_met(seen: bytes) -> float:
    """Return the unix seconds at which a worker first received a message of an unregistered task; see
    ``commit.lua``."""
    return int(seen.split()[0]) / 1000
