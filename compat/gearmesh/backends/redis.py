"""The backend for a Redis server, in Machinery's layout: one JSON string for each UUID, with an expiry."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote, unquote
from uuid import uuid4

import redis
from redis.exceptions import ResponseError

from gearmesh.backends.announcement import hearing
from gearmesh.backends.documents import found_group, states_from
from gearmesh.backends.listener import Listener, redis_channel
from gearmesh.commits.group_cache import GroupCache
from gearmesh.errors import BackendError, ChordBusy, RemoteProtocolError
from gearmesh.interfaces.backend import Wake
from gearmesh.redis_client.chunks import batches, chunks
from gearmesh.redis_client.commit_script import CommitScript, Entry
from gearmesh.redis_client.connection_settings import ConnectionSettings, hang_up
from gearmesh.redis_client.connections import CONNECTION_ERRORS
from gearmesh.redis_client.kept_clients import KeptClients
from gearmesh.redis_client.runner import run, run_each
from gearmesh.redis_client.scanning import scan_step
from gearmesh.redis_client.state_text import Packed, pack_state
from gearmesh.redis_client.wrong_type import TypeCheckingRedis, WrongType
from gearmesh.wire.codec import decode_group, decode_state, encode_group
from gearmesh.wire.names import (
    REVOKED,
    QueueKeys,
    chord_progress,
    chord_taker,
    done_channel,
    probe_key,
    revoked_channel,
    task_report,
)
from gearmesh.wire.state import PENDING, SUCCESS, GroupMeta, TaskState

__all__ = ["RedisBackend"]

log = logging.getLogger("gearmesh.redis")

#: Keys that one step of a search looks at.
SCAN_COUNT: Final = 1000
#: A key that a state or a group may have: it ends with a UUID, and does not begin as gearmesh's own keys.
_UUID_KEY: Final = re.compile(
    rb"\A(?!gearmesh:).{0,80}[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z"
)
#: Characters that have a meaning in a pattern of SCAN.
_GLOB: Final = re.compile(r"[*?\[\]\\]")


class RedisBackend:
    """Keeps states and groups on one Redis server; a :class:`gearmesh.interfaces.backend.Backend`.

    Args:
        access: the address of the Redis, and the settings of connections to it.
        expire: seconds a state lives after its last write.
    """

    connection_errors = CONNECTION_ERRORS
    #: Exceptions by which the server refuses a command: for a wrong database, for example, or a missing permission.
    refusals = (ResponseError,)
    keeps = True
    reads_where_it_hears = True

    def __init__(self, access: ConnectionSettings, *, expire: int) -> None:
        self.expire = expire
        self.db = access.db
        self._redis: Any = access.client()
        self._kept = KeptClients(self._redis) if type(self._redis) is TypeCheckingRedis else None
        self._replicas = access.replicas
        self._listener = _listener(self._redis, done_channel(self.db))
        self._revocations = _listener(self._redis, revoked_channel(self.db), self._all_revoked)
        self._groups = GroupCache(self.read_group, self.touch, expire)
        self._make_script = partial(CommitScript, expire=expire, announce=done_channel(self.db))
        self._script = self._make_script(keys=QueueKeys, groups=self._groups)

    # -- states

    def write(self, states: Sequence[TaskState]) -> None:
        if all(state.State == PENDING for state in states):
            self._store_pending(states)
        else:
            self._write([pack_state(state) for state in states])

    def write_unless_success(self, states: Sequence[TaskState]) -> None:
        self._write([(*pack_state(state), SUCCESS) for state in states])

    def _write(self, packed: Sequence[Packed]) -> None:
        for part in chunks(packed, lambda parts: sum(map(len, parts))):
            self._store(part)

    def _store_pending(self, states: Sequence[TaskState]) -> None:
        """Store states of new tasks."""
        if self._kept is not None and not self._replicas.number:
            self._kept.call(lambda client: self._script.store_pending(client, states))
            return
        with self._replicas.waited_for(self._redis) as client:
            self._script.store_pending(client, states)

    def _store(self, packed: Sequence[Packed]) -> None:
        with self._replicas.waited_for(self._redis) as client:
            self._script.call(client, [Entry(states=packed)])

    def read(self, uuids: Sequence[str]) -> list[TaskState | None]:
        parts = list(batches(uuids))
        found: list[TaskState | None] = []
        if self._kept is None:
            for part in parts:
                found += states_from(part, self._redis.mget(part))
            return found

        def ask(client: TypeCheckingRedis) -> None:
            found.clear()
            left = iter(parts)
            client.ask_each(
                (("MGET", *part) for part in parts),
                lambda bodies: found.extend(states_from(next(left), bodies)),
            )

        self._kept.call(ask)
        return found

    def find_uuids(self, prefix: str, limit: int) -> list[str]:
        pattern = _GLOB.sub(r"\\\g<0>", prefix) + "*"
        found: set[bytes] = set()  # SCAN may return a key twice
        for key in self._redis.scan_iter(match=pattern, count=SCAN_COUNT, _type="string"):
            found.add(key)
            if len(found) == limit:
                break
        return [key.decode("utf-8", "replace") for key in found]

    def walk_states(self, cursor: str, count: int) -> tuple[str, list[TaskState | GroupMeta]]:
        at, keys = scan_step(self._redis, cursor, count=count, _type="string")
        uuids = [key for key in keys if _UUID_KEY.search(key)]
        found: list[TaskState | GroupMeta] = []
        for part in batches(uuids):
            for key, body in zip(part, self._redis.mget(part), strict=True):
                if body is not None:
                    with contextlib.suppress(RemoteProtocolError):  # another program's value
                        found.append(decode_group(body) if key.startswith(b"group_") else decode_state(body))
        return at, found

    def touch(self, uuids: Sequence[str]) -> None:
        for part in batches(uuids):
            with self._redis.pipeline(transaction=False) as pipe:
                for uuid in part:
                    pipe.expire(uuid, self.expire)
                pipe.execute()

    def purge(self, uuids: Sequence[str]) -> None:
        for part in batches(uuids):
            besides = (name(uuid) for name in (chord_progress, chord_taker, task_report) for uuid in part)
            self._redis.unlink(*part, *besides)

    # -- groups

    def create_group(self, meta: GroupMeta) -> None:
        with self._replicas.waited_for(self._redis, meta.GroupUUID) as client:
            client.set(meta.GroupUUID, encode_group(meta), ex=self.expire)

    def read_group(self, group_uuid: str) -> GroupMeta | None:
        try:
            body = self._redis.get(group_uuid)
        except WrongType as exc:
            raise BackendError(f"group {group_uuid}: the stored value is no GroupMeta: {exc}") from exc
        return found_group(group_uuid, body)

    def finished(self, meta: GroupMeta) -> bool:
        group = self._groups.get(meta.GroupUUID) or self._groups.put(meta)
        while True:
            answer = self._script.call(self._redis, [Entry(group=1)], [group])
            if answer != "m":
                return answer == "c"

    def trigger(self, group_uuid: str, by: str) -> bool:
        with self._replicas.waited_for(self._redis, group_uuid) as client:
            answer = self._take_trigger(client, group_uuid, by)
        if answer == "b":
            raise ChordBusy(f"group {group_uuid}: the chord mutex is held by another worker")
        if answer == "g":
            raise BackendError(f"group {group_uuid}: there is no GroupMeta (any more)")
        return answer == "1"

    def _take_trigger(self, client: Any, group_uuid: str, by: str) -> str | None:
        """Return the script's code, see ``commit.lua``."""
        entry = Entry(trigger=(group_uuid, chord_taker(group_uuid), by, (), ()))
        return self._script.call(client, [entry])

    # -- keys that Go does not see

    def report(self, bodies: Mapping[str, bytes]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for uuid, body in bodies.items():
                pipe.set(task_report(uuid), body, ex=self.expire)
            pipe.execute()

    def reports(self, uuids: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for part in batches(uuids):
            found += self._redis.mget([task_report(uuid) for uuid in part])
        return found

    def revoke(self, uuids: Sequence[str], seconds: float) -> None:
        lasts = max(1, int(seconds * 1000))
        for part in batches(uuids):
            message = " ".join(_announced(uuid, lasts) for uuid in part)
            with _right_types():
                run(self._redis, "revoke", [REVOKED], [revoked_channel(self.db), message, lasts, *part])

    def revoked(self) -> dict[str, float]:
        seconds, micros = self._redis.time()
        now = seconds * 1000 + micros // 1000
        with _right_types():
            found = self._redis.zrange(REVOKED, f"({now}", "+inf", byscore=True, withscores=True)
        return {uuid.decode(errors="replace"): (until - now) / 1000 for uuid, until in found}

    def watch_revoked(self, wake: Callable[[dict[str, float]], None]) -> Callable[[], None]:
        return self._revocations.watch(lambda words: wake(dict(map(_heard, words))))

    def _all_revoked(self) -> list[str]:
        return [_announced(uuid, int(seconds * 1000)) for uuid, seconds in self.revoked().items()]

    def claim(self, key: str, holder: str, seconds: float) -> str:
        while not self._redis.set(key, holder, nx=True, px=max(1, int(seconds * 1000))):
            with _right_types():
                other = self._redis.get(key)
            if other is not None:  # else it has just expired
                return str(other.decode(errors="replace"))
        return holder

    def release(self, claims: Sequence[tuple[str, str]]) -> None:
        for part in batches(claims):
            with _right_types():
                run_each(self._redis, "release", [(key, [holder]) for key, holder in part])

    # -- announcements

    def watch(self, wake: Wake) -> Callable[[], None]:
        return self._listener.watch(hearing(wake))

    # -- enlisted by a broker on the same server

    def same_database(self, client: redis.Redis) -> bool:
        """True if ``client`` talks to the same server and database as this backend.

        Neither addresses (names, proxies, sockets) nor INFO (an ACL may forbid it) can show this. So the backend sets a
        mark, and ``client`` tries to delete it; up to three times, since a server that has just restarted may have lost
        a mark.
        """
        return any(self._marked(client) for _ in range(3))

    def _marked(self, client: redis.Redis) -> bool:
        mark = probe_key(uuid4().hex)
        self._redis.set(mark, "1", px=10_000)
        return bool(client.delete(mark))

    def atomic_script(self, client: redis.Redis, **options: Any) -> CommitScript | None:
        """Return a commit script that writes states too; None if ``client`` talks to another server or database.

        Args:
            options: ``keys``, ``delayed`` and ``replicas`` of the script.
        """
        if not self.same_database(client):
            return None
        # A server that restarts, or takes over, may have lost the last states: each connection has a cache of its own.
        return self._make_script(groups=GroupCache(self.read_group, self.touch, self.expire), **options)

    def close(self) -> None:
        self._listener.close()
        self._revocations.close()
        if self._kept is not None:
            self._kept.close()
        with contextlib.suppress(*CONNECTION_ERRORS):
            # Only idle connections: the listener closes its own when it notices that it has ended.
            hang_up(self._redis)


def _listener(client: Any, channel: str, missed: Callable[[], list[str]] | None = None) -> Listener:
    return Listener(redis_channel(client, channel, missed), f"channel {channel}")


@contextlib.contextmanager
def _right_types() -> Iterator[None]:
    """Raise WRONGTYPE as a BackendError that names the key."""
    try:
        yield
    except WrongType as exc:
        raise BackendError(str(exc)) from exc


def _announced(uuid: str, lasts_ms: int) -> str:
    return f"{lasts_ms}:{quote(uuid, safe='')}"


def _heard(word: str) -> tuple[str, float]:
    lasts_ms, _, uuid = word.partition(":")
    return unquote(uuid), int(lasts_ms) / 1000
