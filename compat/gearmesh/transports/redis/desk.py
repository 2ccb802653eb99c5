"""The verbs of a channel that need no consumer: for people, supervisors and reapers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgpack

from gearmesh.redis_scripts.commits import MAX_ENTRIES
from gearmesh.redis_scripts.runner import run
from gearmesh.transports.base import DeadLetter, Delayed, Rated
from gearmesh.transports.redis.ledger import Ledger
from gearmesh.wire.commit import Delivery
from gearmesh.wire.names import QueueKeys, rate_keys

__all__ = ["Desk"]


class Desk:
    """A part of :class:`~.channel.Channel`; see :class:`gearmesh.transports.base.Channel` for what each does."""

    redis: Any
    ledger: Ledger
    consumer: str
    delayed_key: str

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
        with self.redis.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.hincrby(self.keys(queue).consumers, consumer, 1)
            pipe.execute()

    def recover(
        self,
        consumer: str,
        queues: Iterable[str],
        *,
        suspect: bool = False,
        running: Collection[int] | None = None,
        certain: bool = True,
    ) -> int:
        certain = certain and running is not None
        return sum(
            self.take_over(consumer, queue, lost=suspect, running=running, certain=certain)
            for queue in queues
        )

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

    def delayed(self, limit: int = 1000) -> list[Delayed]:
        rows = self.redis.zrange(self.delayed_key, 0, limit - 1, withscores=True)
        return [Delayed(body, int(score)) for body, score in rows]

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

    def admit(self, requests: Sequence[Rated]) -> list[int]:
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
