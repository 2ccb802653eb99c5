"""States and groups in memcached, in Machinery's layout: one JSON text for each UUID, with an expiry."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from operator import methodcaller
from typing import Any

import msgspec
from pymemcache.exceptions import MemcacheServerError

from gearmesh.backends.documents import found_group, meta_from, state_from, states_from
from gearmesh.backends.memcache.keys import key_of, side_key
from gearmesh.backends.memcache.servers import CONNECTION_ERRORS, MemcacheServer, Servers, too_large
from gearmesh.backends.write_order import records_first
from gearmesh.commits.group_cache import GroupCache, leading
from gearmesh.errors import BackendError, ChordBusy, Unstorable
from gearmesh.interfaces.backend import Wake
from gearmesh.process_local import ProcessLocal
from gearmesh.wire.codec import encode_group, encode_state
from gearmesh.wire.names import task_report
from gearmesh.wire.state import FAILURE, RECEIVED, STARTED, SUCCESS, GroupMeta, TaskState

__all__ = ["MemcacheBackend"]

log = logging.getLogger("gearmesh.memcache")

#: Seconds for which a locked group is left to Go. Go locks a group only for moments, but the lock of a Go worker that
#: dies then stays.
GROUP_LOCK_TIMEOUT_S = 8.0
#: RECEIVED and STARTED never replace these.
FINAL_STATES = (SUCCESS, FAILURE)
#: The latest time that memcached understands.
_MAX_UNIX_S = 2**31 - 1


class _Taken(msgspec.Struct):
    """The fields that gearmesh adds to a GroupMeta's text, and Go ignores."""

    TriggeredBy: str = ""


def _triggered_by(body: bytes) -> str:
    """The member that has taken the trigger; ``""``: another program has."""
    try:
        return msgspec.json.decode(body, type=_Taken).TriggeredBy
    except msgspec.MsgspecError:  # Go's decoder reads this text, msgspec's does not
        return ""


class MemcacheBackend:
    """Keeps states and groups in memcached; a :class:`gearmesh.interfaces.backend.Backend`. It can't announce, and
    keeps no revocations.

    If memcached has no room, it deletes values, the least recently used first. When it ends, all values are lost.

    Args:
        servers: ``(host, port)`` each (port 0: the host is a Unix socket's path), in the same order as in Go.
        expire: seconds a state lives after its last write.
    """

    connection_errors = CONNECTION_ERRORS
    keeps = True

    def __init__(self, servers: Sequence[tuple[str, int]], *, expire: int) -> None:
        self.expire = expire
        self._servers = ProcessLocal(lambda: Servers(servers))
        self._groups = GroupCache(self.read_group, self.touch, expire)
        #: group -> monotonic time at which it was first seen locked
        self._locked: dict[str, float] = {}

    # -- states

    def write(self, states: Sequence[TaskState]) -> None:
        """Go: each state is stored as it is, without the name and time of the stored one."""
        for part in records_first(states):
            self._write(part)

    def _write(self, states: Sequence[TaskState]) -> None:
        newest: dict[str, TaskState] = {}
        for state in states:
            old = newest.get(state.TaskUUID)
            if old is None or not (old.final and _early(state)):
                newest[state.TaskUUID] = state
        bodies = {key_of(uuid): encode_state(state) for uuid, state in newest.items()}
        early = {key_of(uuid) for uuid, state in newest.items() if _early(state)}
        self._set({key: body for key, body in bodies.items() if key not in early})
        if early:
            self._set_unless({key: bodies[key] for key in early}, FINAL_STATES)

    def write_unless_success(self, states: Sequence[TaskState]) -> None:
        for part in records_first(states):
            self._set_unless({key_of(state.TaskUUID): encode_state(state) for state in part}, (SUCCESS,))

    def read(self, uuids: Sequence[str]) -> list[TaskState | None]:
        found = self._get([key_of(uuid) for uuid in uuids])
        return states_from(uuids, [found.get(key_of(uuid)) for uuid in uuids])

    def touch(self, uuids: Sequence[str]) -> None:
        until = self._until(self.expire)
        for server, part in self._servers.get().parts(map(key_of, uuids)):
            server.run(partial(_touch, keys=part, until=until))

    def purge(self, uuids: Sequence[str]) -> None:
        keys = [key(uuid) for uuid in uuids for key in (key_of, _report_key)]
        for server, part in self._servers.get().parts(keys):
            server.run(methodcaller("delete_many", part))

    # -- groups

    def create_group(self, meta: GroupMeta) -> None:
        self._set({key_of(meta.GroupUUID): encode_group(meta)})

    def read_group(self, group_uuid: str) -> GroupMeta | None:
        key = key_of(group_uuid)
        body = self._get([key]).get(key)
        return found_group(group_uuid, body)

    def finished(self, meta: GroupMeta) -> bool:
        return self._groups.finished(meta, lambda uuids: leading(self.read(uuids)))

    def trigger(self, group_uuid: str, by: str) -> bool:
        """Take the trigger: the compare-and-set also writes the winner into the meta, as a key that Go ignores.

        Go: sets ``Lock``, then ``ChordTriggered``, then takes the lock away, all without comparing. So a Go worker that
        has read the meta before this write fires, too (its callback has the same UUID).
        """
        key = key_of(group_uuid)
        server = self._servers.get().of(key)
        while True:
            body, cas = server.run(methodcaller("gets", key))
            if body is None:
                raise BackendError(f"group {group_uuid}: there is no GroupMeta (any more)")
            meta = meta_from(group_uuid, body)
            if meta.ChordTriggered:
                return by != "" and _triggered_by(body) == by
            if meta.Lock:
                self._respect_lock(group_uuid)
            taken = encode_group(msgspec.structs.replace(meta, ChordTriggered=True, Lock=False))
            taken = taken[:-1] + b',"TriggeredBy":' + msgspec.json.encode(by) + b"}"
            until = self._until(self.expire)
            if server.run(methodcaller("cas", key, taken, cas, until)):
                self._locked.pop(group_uuid, None)
                return True

    def _respect_lock(self, group_uuid: str) -> None:
        now = time.monotonic()
        if now - self._locked.setdefault(group_uuid, now) < GROUP_LOCK_TIMEOUT_S:
            raise ChordBusy(f"group {group_uuid}: its meta is locked by another worker")
        log.warning("group %s was locked for %g s: its lock is ignored", group_uuid, GROUP_LOCK_TIMEOUT_S)

    # -- values that Go does not see

    def report(self, bodies: Mapping[str, bytes]) -> None:
        self._set({_report_key(uuid): body for uuid, body in bodies.items()})

    def reports(self, uuids: Sequence[str]) -> list[bytes | None]:
        found = self._get([_report_key(uuid) for uuid in uuids])
        return [found.get(_report_key(uuid)) for uuid in uuids]

    def claim(self, key: str, holder: str, seconds: float) -> str:
        """memcached counts whole seconds, so a claim may last up to two seconds longer."""
        name = side_key(key)
        server = self._servers.get().of(name)
        value, until = holder.encode(), self._until(seconds)
        while not server.run(methodcaller("add", name, value, until)):
            other = server.run(methodcaller("get", name))
            if other is not None:  # else it has just expired
                return str(other.decode(errors="replace"))
        return holder

    def release(self, claims: Sequence[tuple[str, str]]) -> None:
        for key, holder in claims:
            name = side_key(key)
            server = self._servers.get().of(name)
            value, cas = server.run(methodcaller("gets", name))
            if value == holder.encode():
                server.run(methodcaller("cas", name, b"", cas, -1))  # -1: it expires at once

    def watch(self, wake: Wake) -> None:
        """Return None, since memcached announces nothing."""

    def close(self) -> None:
        servers = self._servers.pop()
        if servers is not None:
            servers.close()

    # -- requests

    def _until(self, seconds: float) -> int:
        """Go: an absolute unix time. At least ``seconds`` from now, or a second less if memcached's clock is ahead."""
        return min(math.ceil(time.time() + seconds), _MAX_UNIX_S)

    def _get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for server, part in self._servers.get().parts(keys):
            found |= server.run(methodcaller("get_many", part))
        return found

    def _set(self, bodies: Mapping[bytes, bytes]) -> None:
        """Store each value. Raises Unstorable for a value that is too large, after it has stored the others."""
        until = self._until(self.expire)
        refused: list[Unstorable] = []
        for server, part in self._servers.get().parts(bodies, lambda key: len(bodies[key])):
            try:
                _store(server, {key: bodies[key] for key in part}, until)
            except MemcacheServerError as exc:
                if not too_large(exc):
                    raise
                refused += _store_singly(server, {key: bodies[key] for key in part}, until)
        if refused:
            raise refused[0]

    def _set_unless(self, bodies: Mapping[bytes, bytes], spared: Sequence[str]) -> None:
        """Store each state unless the stored one is among ``spared``. Raises Unstorable, see :meth:`_set`."""
        until = self._until(self.expire)
        refused: list[Unstorable] = []
        for server, part in self._servers.get().parts(bodies):
            while part:
                found = server.run(methodcaller("gets_many", part))
                left = []
                for key in part:
                    try:
                        if not _advance(server, key, bodies[key], found.get(key), until, spared):
                            left.append(key)
                    except MemcacheServerError as exc:
                        refused.append(_refusal(key, bodies[key], exc))
                part = left
        if refused:
            raise refused[0]


def _early(state: TaskState) -> bool:
    return state.State in (RECEIVED, STARTED)


def _advance(
    server: MemcacheServer,
    key: bytes,
    body: bytes,
    found: tuple[bytes, bytes] | None,
    until: int,
    spared: Sequence[str],
) -> bool:
    """Store ``body`` unless ``found`` is among the ``spared`` states. False: the stored value has changed since."""
    if found is None:
        return bool(server.run(methodcaller("add", key, body, until)))
    stored, cas = found
    if state_from(key.decode(), stored).State in spared:
        return True
    return bool(server.run(methodcaller("cas", key, body, cas, until)))


def _store(server: MemcacheServer, bodies: Mapping[bytes, bytes], until: int) -> None:
    server.run(methodcaller("set_many", bodies, expire=until))


def _store_singly(server: MemcacheServer, bodies: Mapping[bytes, bytes], until: int) -> list[Unstorable]:
    """Store each value by itself, to find those that memcached refuses. (It deletes the old value of these.)"""
    refused = []
    for key, body in bodies.items():
        try:
            _store(server, {key: body}, until)
        except MemcacheServerError as exc:
            refused.append(_refusal(key, body, exc))
    return refused


def _refusal(key: bytes, body: bytes, exc: MemcacheServerError) -> Unstorable:
    """Return the error about a value that is too large; raise ``exc`` if it says something else."""
    if not too_large(exc):
        raise exc
    why = f"{len(body)} bytes are more than memcached takes (its option -I; 1 MiB by default)"
    return Unstorable(key.decode(), why)


def _touch(client: Any, keys: Sequence[bytes], until: int) -> None:
    for key in keys:
        client.touch(key, until, noreply=True)
    client.version()  # memcached answers when it has done all before


def _report_key(uuid: str) -> bytes:
    return side_key(task_report(uuid))
