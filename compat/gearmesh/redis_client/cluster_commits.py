"""Carries out Commits in a cluster, where the keys that one Commit changes lie in several slots.

A script settles a delivery in its queue's slot, since only there can it see that the lease is still held. In the same
step it writes the messages to other slots into an outbox beside the queue. This process then sends them, and deletes
them from the outbox. If it dies in between, the next consumer that looks at the queue sends them.

Several processes may send the same batch. So each slot keeps a token, the number of a producer's last batch, and takes
each batch once. This works because a producer has only one batch at a time in its outboxes, and takes a new name after
an error.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgpack
import msgspec

from gearmesh.interfaces.commit import Commit, Outcome, Publish, Token
from gearmesh.redis_client.chunks import chunks
from gearmesh.redis_client.cluster import slot_of
from gearmesh.redis_client.commit_script import Batch, CommitScript, payload_bytes
from gearmesh.redis_client.replicas import Replicas
from gearmesh.redis_client.runner import run
from gearmesh.redis_client.state_text import Packed
from gearmesh.wire.names import QueueKeys, outbox, publish_token, slot_tag

__all__ = ["ClusterCommitScript"]

#: Milliseconds for which a slot remembers that a batch from an outbox was sent. All workers together must not be
#: stopped for longer.
BATCH_TOKEN_TTL_MS = 86_400_000


def _pack(publishes: Sequence[Publish]) -> list[Packed]:
    """Pack publishes. A publish with an ETA gets "" as its queue, which stands for the delayed set."""
    return [
        ("" if p.eta_ns > 0 else p.queue, p.body, str(p.eta_ns) if p.eta_ns > 0 else "") for p in publishes
    ]


class ClusterCommitScript(CommitScript):
    """Carries out Commits in a cluster; it writes no states and triggers no chords, which are in other slots.

    A message with an ETA always goes to the delayed set, even if it is due: a repeated batch must write to the same
    slots, and the message may have become due meanwhile. This class then moves due messages on to their queues.
    """

    def __init__(self, *, keys: Callable[[str], QueueKeys], delayed: str, replicas: Replicas) -> None:
        super().__init__(keys=keys, expire=0, delayed=delayed, replicas=replicas)
        self._pack = _pack
        self._producer = uuid.uuid4().hex
        self._seq = 0
        #: outboxes that this object has already searched for messages that an earlier connection left
        self._looked: set[str] = set()

    def commit(
        self, client: Any, commits: Sequence[Commit], *, token: Token | None = None, atomic: bool = False
    ) -> list[Outcome]:
        tags: dict[str, list[tuple[int, Commit]]] = {}
        for i, commit in enumerate(commits):
            if commit.settle is not None:
                queue = commit.settle.delivery.queue
                self._look(client, queue)
                tags.setdefault(slot_tag(queue), []).append((i, commit))
                continue
            for publish in commit.publishes:
                part = Commit(publishes=(publish,))
                tags.setdefault(slot_tag(self._place(publish)), []).append((i, part))
        outcomes: list[Outcome] = ["done"] * len(commits)
        for parts in tags.values():
            some = [part for _, part in parts]
            for (i, _), outcome in zip(
                parts, super().commit(client, some, token=token, atomic=False), strict=True
            ):
                outcomes[i] = outcome
        now = time.time_ns()
        late = [(p.body, p.queue) for commit in commits for p in commit.publishes if 0 < p.eta_ns <= now]
        if late:
            self.take_due(client, late)
        return outcomes

    def finish(self, client: Any, key: str) -> int:
        """Send the messages in the outbox of ``key``'s slot, also those of other processes; return their number."""
        count = 0
        for mark, blob in client.hgetall(outbox(key)).items():
            publishes = [
                (queue.decode(), body, eta.decode()) for queue, body, eta in msgpack.unpackb(blob, raw=True)
            ]
            self._forward(client, key, mark.decode(), publishes)
            count += len(publishes)
        return count

    def take_due(self, client: Any, due: Sequence[tuple[bytes, str]]) -> int:
        """Move due messages from the delayed set, each to the queue given with it; return how many were moved."""
        mark = self._mark()
        try:
            moves = msgpack.packb(due, use_bin_type=False)
            taken = run(client, "take_due", [self._delayed, outbox(self._delayed)], [moves, mark])
            if taken:
                publishes = [(due[at - 1][1], due[at - 1][0], "") for at in taken]
                self._forward(client, self._delayed, mark, publishes)
        except BaseException:
            self._renew()
            raise
        return len(taken)

    # -- entries, calls and outboxes

    def _place(self, publish: Publish) -> str:
        """Return the key that a message goes to."""
        return self._delayed if publish.eta_ns > 0 else publish.queue

    def _route(self, commits: Iterable[Commit]) -> str:
        for commit in commits:
            if commit.settle is None and commit.publishes:
                return self._place(commit.publishes[0])
            break
        return super()._route(commits)

    def _entry(self, commit: Commit, atomic: bool) -> Packed:
        if commit.settle is None or not commit.publishes:
            return super()._entry(commit, False)
        slot = slot_of(commit.settle.delivery.queue)
        here = tuple(p for p in commit.publishes if slot_of(self._place(p)) == slot)
        entry = super()._entry(msgspec.structs.replace(commit, publishes=here), False)
        if len(here) == len(commit.publishes):
            return entry
        away = [p for p in commit.publishes if slot_of(self._place(p)) != slot]
        for publish in away:
            self._keys(publish.queue)  # raises ConfigError if no other key can share the queue's slot
        return (*entry, *(None,) * (8 - len(entry)), self._pack(away))

    def _run(self, client: Any, batch: Batch) -> tuple[str | None, list[str]]:
        if batch.more or not any(len(entry) > 8 for entry in batch.entries):
            return super()._run(client, batch)
        mark, route = self._mark(), batch.route
        try:
            codes, problems = super()._run(client, batch._replace(more=(600_000, outbox(route), mark)))
            away = [
                publish
                for code, entry in zip(codes or "", batch.entries, strict=False)
                if code == "1" and len(entry) > 8
                for publish in entry[8]
            ]
            if away:
                self._forward(client, route, mark, away)
        except BaseException:
            self._renew()
            raise
        return codes, problems

    def _forward(self, client: Any, source: str, mark: str, publishes: Sequence[Packed]) -> None:
        """Send the messages in the outbox of ``source``'s slot under ``mark``, and delete them there."""
        producer, _, seq = mark.rpartition(".")
        slots: dict[int, list[Packed]] = {}
        for queue, body, eta in publishes:
            publish: Packed = (queue, body, eta)
            if queue:
                keys = self._keys(queue)
                publish = (queue, body, eta, keys.dead, keys.dead_entry)
            slots.setdefault(slot_of(queue or self._delayed), []).append(("", "", 0, (), (publish,), 0))
        for entries in slots.values():
            route = entries[0][4][0][0] or self._delayed
            key = publish_token(route, producer)
            start = 0
            for chunk in chunks(entries, payload_bytes):
                token = (key, f"{seq}.{start:09d}")
                super()._run(client, Batch(chunk, (), route, token, (BATCH_TOKEN_TTL_MS,)))
                start += len(chunk)
            self._replicas.wait(client, route)
        client.hdel(outbox(source), mark)

    def _look(self, client: Any, queue: str) -> None:
        """Send the messages that an earlier connection of this process left, before anything new."""
        box = outbox(queue)
        if box not in self._looked:
            self.finish(client, queue)
            self._looked.add(box)

    def _mark(self) -> str:
        self._seq += 1
        return f"{self._producer}.{self._seq:016d}"

    def _renew(self) -> None:
        """Take a new producer name, since other processes may send batches from an outbox under the old one."""
        self._producer = uuid.uuid4().hex
        self._looked.clear()
