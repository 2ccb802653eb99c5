"""The backend ``memory://NAME`` keeps states inside this process, for tests and for eager tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain, islice
from typing import Final

import msgspec

from gearmesh.backends.announcement import hearing, words_of
from gearmesh.backends.announcer import Announcer
from gearmesh.backends.expiring_dict import ExpiringDict
from gearmesh.commits.group_cache import GroupCache, leading
from gearmesh.errors import BackendError, ConfigError
from gearmesh.interfaces.backend import Wake
from gearmesh.shared import SharedByName
from gearmesh.wire.state import PENDING, RECEIVED, STARTED, GroupMeta, TaskState

__all__ = ["MemoryBackend"]


class _Store:
    """Keeps the values that all backends of one name share, by UUID. Its users hold :attr:`lock`."""

    def __init__(self, name: str) -> None:
        self.lock = threading.RLock()
        self.states = ExpiringDict[TaskState]()
        self.groups = ExpiringDict[GroupMeta]()
        #: the ``by`` that took a group's chord trigger, by group
        self.triggered = ExpiringDict[str]()
        self.reports = ExpiringDict[bytes]()
        self.revoked = ExpiringDict[bool]()
        #: holder by key
        self.claims = ExpiringDict[str]()
        self.finals, self.revocations = Announcer(), Announcer()


_STORES: Final = SharedByName(_Store)


class MemoryBackend:
    """A result backend in this process. All backends of one name share their states.

    The states end with the last of these backends. A forked child has a copy of its own.

    Args:
        name: the name to share under; "" is a name like any other.
        expire: seconds for which a state or a group meta lives after its last write; 1 or more.

    Raises:
        ConfigError: ``expire`` is below 1.
    """

    connection_errors: tuple[type[BaseException], ...] = ()
    keeps = True

    def __init__(self, name: str = "", *, expire: int = 3600) -> None:
        if expire < 1:
            raise ConfigError(f"expire is {expire!r}, expected 1 or more seconds")
        self.expire = expire
        self._store = _STORES.get(name)
        self._groups = GroupCache(self.read_group, self.touch, expire)
        self._watches: list[Callable[[], None]] = []

    def locked(self) -> AbstractContextManager[object]:
        """Lock out all other users of the store. The memory broker does this in the step that settles a delivery."""
        return self._store.lock

    def write(self, states: Sequence[TaskState]) -> None:
        with self._store.lock:
            for state in states:
                old = None if state.State == PENDING else self._store.states.get(state.TaskUUID)
                if old is not None:
                    if old.final and state.State in (RECEIVED, STARTED):
                        continue
                    # Go: only PENDING brings CreatedAt and TaskName, the later states copy both.
                    state = msgspec.structs.replace(state, CreatedAt=old.CreatedAt, TaskName=old.TaskName)
                self._store.states.put(state.TaskUUID, state, self.expire)
            self._store.finals.announce(words_of(states))

    def write_unless_success(self, states: Sequence[TaskState]) -> None:
        with self._store.lock:
            stored = self.read([state.TaskUUID for state in states])
            self.write(
                [state for state, old in zip(states, stored, strict=True) if not (old and old.success)]
            )

    def read(self, uuids: Sequence[str]) -> list[TaskState | None]:
        with self._store.lock:
            return [self._store.states.get(uuid) for uuid in uuids]

    def find_uuids(self, prefix: str, limit: int) -> list[str]:
        with self._store.lock:
            uuids = (*self._store.states, *self._store.groups)
            return list(islice((uuid for uuid in uuids if uuid.startswith(prefix)), limit))

    def walk_states(self, cursor: str, count: int) -> tuple[str, list[TaskState | GroupMeta]]:
        start = int(cursor or 0)
        with self._store.lock:
            keys = list(islice(chain(self._store.states, self._store.groups), start, start + count))
            found = [self._store.states.get(key) or self._store.groups.get(key) for key in keys]
        return str(start + count) if len(keys) == count else "", [each for each in found if each is not None]

    def create_group(self, meta: GroupMeta) -> None:
        with self._store.lock:
            self._store.groups.put(meta.GroupUUID, meta, self.expire)
            self._store.triggered.pop(meta.GroupUUID)

    def read_group(self, group_uuid: str) -> GroupMeta | None:
        with self._store.lock:
            return self._store.groups.get(group_uuid)

    def finished(self, meta: GroupMeta) -> bool:
        with self._store.lock:
            return self._groups.finished(meta, lambda uuids: leading(self.read(uuids)))

    def trigger(self, group_uuid: str, by: str) -> bool:
        with self._store.lock:
            meta = self._store.groups.get(group_uuid)
            if meta is None:
                raise BackendError(
                    f"group {group_uuid!r} is not known (any more), its chord cannot be triggered"
                )
            if not meta.ChordTriggered:
                triggered = msgspec.structs.replace(meta, ChordTriggered=True)
                self._store.groups.put(group_uuid, triggered, self._store.groups.left(group_uuid))
                self._store.triggered.put(group_uuid, by, self.expire)
            return not meta.ChordTriggered or (by != "" and self._store.triggered.get(group_uuid) == by)

    def touch(self, uuids: Sequence[str]) -> None:
        with self._store.lock:
            for uuid in uuids:
                for kept in (self._store.states, self._store.groups, self._store.triggered):
                    kept.touch(uuid, self.expire)

    def purge(self, uuids: Sequence[str]) -> None:
        store = self._store
        with store.lock:
            for uuid in uuids:
                for kept in (store.states, store.groups, store.triggered, store.reports):
                    kept.pop(uuid)

    def report(self, bodies: Mapping[str, bytes]) -> None:
        with self._store.lock:
            for uuid, body in bodies.items():
                self._store.reports.put(uuid, body, self.expire)

    def reports(self, uuids: Sequence[str]) -> list[bytes | None]:
        with self._store.lock:
            return [self._store.reports.get(uuid) for uuid in uuids]

    def revoke(self, uuids: Sequence[str], seconds: float) -> None:
        with self._store.lock:
            for uuid in uuids:
                self._store.revoked.put(uuid, True, max(seconds, self._store.revoked.left(uuid)))
            self._store.revocations.announce(uuids)

    def revoked(self) -> dict[str, float]:
        with self._store.lock:
            return {uuid: self._store.revoked.left(uuid) for uuid in self._store.revoked}

    def watch_revoked(self, wake: Callable[[dict[str, float]], None]) -> Callable[[], None]:
        def told(uuids: Sequence[str]) -> None:
            known = self.revoked()
            wake({uuid: known[uuid] for uuid in uuids if uuid in known})

        with self._store.lock:
            stop = self._store.revocations.watch(told)
            self._store.revocations.announce(list(self._store.revoked))
            self._watches.append(stop)
        return stop

    def claim(self, key: str, holder: str, seconds: float) -> str:
        with self._store.lock:
            return self._store.claims.setdefault(key, holder, seconds)

    def release(self, claims: Sequence[tuple[str, str]]) -> None:
        with self._store.lock:
            for key, holder in claims:
                if self._store.claims.get(key) == holder:
                    self._store.claims.pop(key)

    def watch(self, wake: Wake) -> Callable[[], None]:
        with self._store.lock:
            stop = self._store.finals.watch(hearing(wake))
            self._watches.append(stop)
        return stop

    def close(self) -> None:
        """End this backend's watches. The states stay while another of the same name is open."""
        watches, self._watches = self._watches, []
        for stop in watches:
            stop()
