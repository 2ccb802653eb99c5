"""The backend for a Redis cluster. Each UUID has its own slot, so hardly any change is one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import msgpack

from gearmesh.backends.announcement import word_of
from gearmesh.backends.documents import state_from
from gearmesh.backends.redis import RedisBackend
from gearmesh.backends.write_order import records_first
from gearmesh.redis_client.cluster import slot_of
from gearmesh.redis_client.commit_script import Entry
from gearmesh.redis_client.runner import run, run_each
from gearmesh.redis_client.state_text import Packed, pack_state
from gearmesh.wire.names import CHORD_MUTEX, chord_taker, done_channel
from gearmesh.wire.state import FAILURE, SUCCESS, GroupMeta, TaskState

__all__ = ["ClusterBackend"]

#: Milliseconds after which Go's mutex ends, if its holder has not released it.
MUTEX_MS = 8000
#: Bytes at the beginning of a state that contain its word, unless its name is very long.
STATE_HEAD_BYTES = 512
_STATE_FIELD = b',"State":"'
_FINAL_STATES = (SUCCESS.encode(), FAILURE.encode())


class ClusterBackend(RedisBackend):
    """Keeps states and groups on the nodes of a Redis cluster; a :class:`gearmesh.interfaces.backend.Backend`."""

    def write(self, states: Sequence[TaskState]) -> None:
        for part in records_first(states):
            super().write(part)

    def write_unless_success(self, states: Sequence[TaskState]) -> None:
        for part in records_first(states):
            super().write_unless_success(part)

    def _store_pending(self, states: Sequence[TaskState]) -> None:
        self._write([pack_state(state) for state in states])

    def _store(self, packed: Sequence[Packed]) -> None:
        calls = [(state[0], [self._payload([Entry(states=(state,))])]) for state in packed]
        for state, answer in zip(packed, run_each(self._redis, "commit", calls), strict=True):
            if answer[0] == b"s":  # the stored document is in another form than Go's and gearmesh's
                self._script.call(self._redis, [Entry(states=(state,))], route=state[0])
        final = [state for state in packed if len(state) > 2 and state[2] in (SUCCESS, FAILURE)]
        if final:
            words = [word_of(state[0], failed=state[2] == FAILURE) for state in final]
            self._redis.publish(done_channel(self.db), " ".join(words))
        if self._replicas.number:
            for uuid in {self._redis.address(uuid): uuid for uuid, _ in calls}.values():
                self._replicas.wait(self._redis, uuid)

    def _payload(self, entries: Sequence[Entry]) -> bytes:
        payload: bytes = msgpack.packb(("", "", self.expire, entries, (), "", ""), use_bin_type=False)
        return payload

    def atomic_script(self, client: Any, **options: Any) -> None:
        """Return None: no script can use a queue and a state, which are in two slots."""

    # -- groups

    def finished(self, meta: GroupMeta) -> bool:
        return self._groups.finished(meta, self._leading)

    def _leading(self, uuids: Sequence[str]) -> int:
        with self._redis.pipeline() as pipe:
            for uuid in uuids:
                pipe.getrange(uuid, 0, STATE_HEAD_BYTES - 1)
            heads = pipe.execute(raise_on_error=False)
        for i, (uuid, head) in enumerate(zip(uuids, heads, strict=True)):
            if isinstance(head, Exception) or not self._final(uuid, head):
                return i
        return len(uuids)

    def _final(self, uuid: str, head: bytes) -> bool:
        at = head.find(_STATE_FIELD)
        if at < 0 and head:  # another program wrote it, or its name is long
            body = self._redis.get(uuid)
            return body is not None and state_from(uuid, body).final
        return at >= 0 and head[at + len(_STATE_FIELD) :].partition(b'"')[0] in _FINAL_STATES

    def _take_trigger(self, client: Any, group_uuid: str, by: str) -> str | None:
        """Take the trigger under Go's mutex, which is in another slot than the group."""
        taker = chord_taker(group_uuid)
        if slot_of(taker) != slot_of(group_uuid):  # a UUID with braces, which no program makes
            return "g"
        mine = uuid4().hex
        if not client.set(CHORD_MUTEX, mine, nx=True, px=MUTEX_MS):
            return "b"
        try:
            entry = Entry(trigger=(group_uuid, taker, by, (), (), True))
            return self._script.call(client, [entry], route=group_uuid)
        finally:
            run(client, "release", [CHORD_MUTEX], [mine])
