"""The verbs of a channel that need no consumer: for people, supervisors and reapers."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgpack
import msgspec
from redis.exceptions import ResponseError

from gearmesh.errors import RemoteProtocolError
from gearmesh.interfaces.commit import Delivery
from gearmesh.interfaces.transport import (
    DeadLetter,
    DelayedMessage,
    DeletedCallback,
    ParkedMessage,
    QueueCounts,
    RateRequest,
)
from gearmesh.redis_client.commit_script import MAX_ENTRIES
from gearmesh.redis_client.runner import run, run_each
from gearmesh.scoreboard import crash_report
from gearmesh.transports.redis.reaper import OVERDUE_LEASE_SHARE
from gearmesh.transports.redis.unacked import RedisUnackedDeliveries
from gearmesh.wire.codec import decode
from gearmesh.wire.names import PREFIX, QueueKeys, queue_of, rate_keys

__all__ = ["Inspector"]

#: Unix nanoseconds beyond all years that a time can have.
MAX_ETA_NS = 10.0**22
#: Keys that one step of a search looks at.
SCAN_COUNT = 1000
#: Waiting messages among which parked ones are looked for that have returned.
MAX_LOOKED_AT_MESSAGES = 1000
#: Ends the mark of a parked message that waits because of its task's rate, in place of the name's SHA-1.
RATED_MARK_SUFFIX = b"/" + b"0" * 40


class Inspector:
    """A part of :class:`~.channel.Channel`; see :class:`gearmesh.interfaces.transport.Channel` for what each does."""

    redis: Any
    lease: float
    ledger: RedisUnackedDeliveries
    consumer: str
    delayed_key: str
    default_queue: str
    counts_losses = True
    lists_delayed = True
    dead_batch = 1000

    def keys(self, queue: str) -> QueueKeys:
        """The keys around ``queue``."""
        raise NotImplementedError

    def held(self, consumer: str, queues: Iterable[str]) -> list[tuple[Delivery, bytes]]:
        found = []
        for queue in queues:
            for id_, body in self.redis.hgetall(self.keys(queue).held(consumer)).items():
                found.append((Delivery(queue=queue, consumer=consumer, id=int(id_)), body))
        return found

    def heartbeat(self, consumer: str, queues: Iterable[str]) -> None:
        self.beat(consumer, queues)

    def beat(self, consumer: str, queues: Iterable[str], **how: Any) -> None:
        """A heartbeat to each of the queues; ``how``: see :func:`~gearmesh.redis_client.runner.run_each`."""
        run_each(self.redis, "beat", [(self.keys(queue).consumers, [consumer]) for queue in queues], **how)

    def recover(
        self,
        consumer: str,
        queues: Iterable[str],
        *,
        crashed: bool = False,
        running: Collection[int] | None = None,
        certain: bool = True,
    ) -> int:
        certain = certain and running is not None
        total, trouble = 0, None
        for queue in queues:
            try:
                total += self.take_over(consumer, queue, lost=crashed, running=running, certain=certain)
            except ResponseError as exc:  # the other queues get theirs back all the same
                trouble = trouble or exc
        if trouble is not None:
            raise trouble
        return total

    def take_over(
        self,
        consumer: str,
        queue: str,
        *,
        beat: bytes = b"",
        lost: bool,
        running: Collection[int] | None = None,
        certain: bool = False,
    ) -> int:
        """Put back what ``consumer`` holds of ``queue``; -1 if its heartbeat is not ``beat`` any more."""
        keys = self.keys(queue)
        total = 0
        ran = "?" if running is None else " ".join(map(str, running))
        # A wait of ours that the server may still know of can bring one more message: a reaper must find it.
        over = consumer == self.consumer and not self.ledger.waiting(queue)
        forget = "1" if beat or over else "0"
        while True:
            count, more = run(
                self.redis,
                "recover",
                [queue, keys.held(consumer), keys.arrived(consumer), keys.consumers, keys.recovered],
                [consumer, beat, MAX_ENTRIES, "1" if lost else "0", forget, ran, int(certain)],
            )
            if count < 0:
                return total or -1
            total += int(count)
            if not more:
                return total

    def pending(self, queue: str, limit: int = 1000) -> list[bytes]:
        items: list[bytes] = self.redis.lrange(queue, 0, limit - 1)
        return items

    def delayed(self, limit: int = 1000) -> list[DelayedMessage]:
        rows = self.redis.zrange(self.delayed_key, 0, limit - 1, withscores=True)
        # A score may be any number, and Delayed has whole ones.
        return [DelayedMessage(body, int(max(-MAX_ETA_NS, min(score, MAX_ETA_NS)))) for body, score in rows]

    def dead_letters(self, queue: str, limit: int = 1000) -> list[DeadLetter]:
        keys = self.keys(queue)
        letters = []
        for digest in self.redis.zrange(keys.dead, 0, limit - 1):
            row = self.redis.hgetall(keys.dead_entry + digest.decode())
            if row:
                letters.append(
                    DeadLetter(
                        queue=queue,
                        body=row[b"body"],
                        reason=row[b"reason"].decode("utf-8", "replace"),
                        count=int(row[b"count"]),
                        first=int(row[b"first"]) / 1000,
                        last=int(row[b"last"]) / 1000,
                    )
                )
        return letters

    def queues(self) -> list[str]:
        # What is ours about a queue says its name. A list without any may be a queue that only Go has used yet: it
        # is one if a signature waits in it. Looking takes a while where there are many keys, and blocks nobody.
        found = set()
        for key in self.redis.scan_iter(match=f"{PREFIX}*", count=SCAN_COUNT):
            if (queue := queue_of(key.decode("utf-8", "replace"))) is not None:
                found.add(queue)
        for key in self.redis.scan_iter(_type="list", count=SCAN_COUNT):
            name = key.decode("utf-8", "replace")
            if not name.startswith(PREFIX) and name not in found and self._is_queue(key):
                found.add(name)
        return sorted(queue for queue in found if self._in_use(queue))

    def _in_use(self, queue: str) -> bool:
        try:
            return any(msgspec.structs.astuple(self.count(queue))[1:])
        except ResponseError:  # its name is somebody else's key now
            return False

    def _is_queue(self, key: bytes) -> bool:
        try:
            first = self.redis.lindex(key, 0)
            return first is not None and bool(decode(first).Name)
        except (ResponseError, RemoteProtocolError):  # no list any more; somebody else's
            return False

    def count(self, queue: str) -> QueueCounts:
        keys = self.keys(queue)
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.llen(queue)
            pipe.zcard(keys.aside)
            pipe.zcard(keys.dead)
            pipe.hgetall(keys.consumers)
            pipe.hgetall(keys.watched)
            pending, aside, dead, consumers, watched = pipe.execute()
            for consumer in map(bytes.decode, consumers):
                pipe.hlen(keys.held(consumer))
                pipe.llen(keys.arrived(consumer))
            held = sum(pipe.execute())
        silent = sum(self._silent(name, beat, watched.get(name, b"")) for name, beat in consumers.items())
        return QueueCounts(
            queue=queue,
            pending=pending,
            held=held,
            aside=aside,
            dead=dead,
            consumers=len(consumers) - silent,
            silent=silent,
        )

    def _silent(self, consumer: bytes, beat: bytes, watched: bytes) -> bool:
        """True for a consumer that is known to be dead, or that others have watched miss its heartbeats.

        ``watched``: its heartbeat counter, and for how many ms others saw it stand still; see ``watch.lua``.
        """
        if beat == b"0" or crash_report(consumer) is not None:
            return True
        counter, _, ms = watched.partition(b" ")
        return counter == beat and ms.isdigit() and int(ms) > self.lease * OVERDUE_LEASE_SHARE * 1000

    def parked(self, queue: str, limit: int) -> list[ParkedMessage]:
        keys = self.keys(queue)
        members = self.redis.zrange(keys.aside, 0, limit - 1, withscores=True)
        away = [(*member.partition(b"\n"), due) for member, due in members]
        waiting = self.redis.lrange(queue, 0, MAX_LOOKED_AT_MESSAGES - 1)
        with self.redis.pipeline(transaction=False) as pipe:
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
        aside = self.keys(queue).aside
        if gone is None:
            return int(run(self.redis, "purge", [queue, aside], []))
        waiting, parked = int(self.redis.llen(queue)), int(self.redis.zcard(aside))
        count = 0
        while count < waiting and (bodies := self.redis.lpop(queue, min(MAX_ENTRIES, waiting - count))):
            count += len(bodies)
            gone(bodies)
        while parked > 0 and (members := self.redis.zrange(aside, 0, min(MAX_ENTRIES, parked) - 1)):
            with self.redis.pipeline(transaction=False) as pipe:
                for member in members:
                    pipe.zrem(aside, member)
                removed = pipe.execute()
            bodies = [
                member.partition(b"\n")[2] for member, done in zip(members, removed, strict=True) if done
            ]
            parked -= len(members)
            count += len(bodies)
            gone(bodies)
        return count

    def purge_delayed(self, queue: str, gone: DeletedCallback | None = None) -> int:
        count = 0
        for body, _ in self.redis.zscan_iter(self.delayed_key, count=MAX_ENTRIES):
            if self.target(body) == queue and self.redis.zrem(self.delayed_key, body):
                count += 1
                if gone is not None:
                    gone([body])
        return count

    def target(self, body: bytes) -> str:
        """Where a delayed message goes when it is due.

        The unreadable go to the default queue, whose worker buries them with a reason. (Go makes an empty
        signature of them.)
        """
        try:
            return decode(body).RoutingKey or self.default_queue
        except RemoteProtocolError:
            return self.default_queue

    def reserve(self, requests: Sequence[RateRequest]) -> list[int]:
        answers: list[int] = []
        for start in range(0, len(requests), MAX_ENTRIES):
            part = requests[start : start + MAX_ENTRIES]
            rows = [(*rate_keys(queue, task), round(pause * 1e6), body) for queue, task, pause, body in part]
            blob = msgpack.packb(rows, use_bin_type=False)
            answers += [int(ms) * 1_000_000 for ms in run(self.redis, "admit", [part[0].queue], [blob])]
        return answers

    def take_dead(self, queue: str, ids: Sequence[str], *, retry: bool) -> int:
        keys = self.keys(queue)
        how = "retry" if retry else "drop"
        total = 0
        for start in range(0, len(ids), MAX_ENTRIES):
            part = ids[start : start + MAX_ENTRIES]
            total += int(run(self.redis, "dead", [keys.dead, queue], [keys.dead_entry, how, *part]))
        return total


def _first_met(seen: bytes) -> float:
    """Unix seconds at which a message of an unregistered task was first met; see ``commit.lua``."""
    return int(seen.split()[0]) / 1000
