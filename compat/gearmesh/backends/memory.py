"""``memory://NAME``: states inside this process, for tests and for eager work."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import msgspec

from gearmesh.backends.announcer import Announcer
from gearmesh.errors import BackendError, ConfigError
from gearmesh.named import Named
from gearmesh.wire.state import PENDING, RECEIVED, STARTED, GroupMeta, TaskState

__all__ = ["MemoryBackend"]


@dataclass(slots=True)
class _Kept:
    """A state, and the monotonic time at which it is forgotten."""

    state: TaskState
    until: float


@dataclass(slots=True)
class _Group:
    """A group's meta, and what is known about it beyond."""

    meta: GroupMeta
    until: float
    #: How many leading members are known to be final.
    done: int = 0
    #: Who took the chord trigger; "" while nobody has.
    by: str = ""
    #: Monotonic time at which all members were last made to live on.
    touched: float = 0.0


class Store:
    """All states of one name. Every method is called with :attr:`lock` held."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.lock = threading.RLock()
        # The least recently written is first, so what has expired is found there.
        self.states: OrderedDict[str, _Kept] = OrderedDict()
        self.groups: OrderedDict[str, _Group] = OrderedDict()
        self.announcer = Announcer()
        #: what tasks say of themselves, and when it is forgotten; the oldest first
        self.reports: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        #: UUID -> monotonic time at which the revocation ends
        self.revoked: dict[str, float] = {}
        self.revocations = Announcer()
        #: key -> its holder, and the monotonic time until which
        self.claims: dict[str, tuple[str, float]] = {}

    def state(self, uuid: str) -> TaskState | None:
        """A state that has not expired."""
        kept = self.states.get(uuid)
        return kept.state if kept is not None and kept.until > time.monotonic() else None

    def group(self, uuid: str) -> _Group | None:
        """A group that has not expired."""
        group = self.groups.get(uuid)
        return group if group is not None and group.until > time.monotonic() else None

    def write(self, states: Sequence[TaskState], expire: float) -> None:
        """Store states, each merged with what is stored."""
        now = time.monotonic()
        final: list[str] = []
        for state in states:
            uuid = state.TaskUUID
            old = None if state.State == PENDING else self.state(uuid)
            if old is not None:
                if old.final and state.State in (RECEIVED, STARTED):
                    continue
                # Go: only PENDING brings CreatedAt and TaskName, the later states copy both.
                state = msgspec.structs.replace(state, CreatedAt=old.CreatedAt, TaskName=old.TaskName)
            self.states[uuid] = _Kept(state, now + expire)
            self.states.move_to_end(uuid)
            if state.final:
                final.append(uuid)
        self._sweep(now)
        self.announcer.announce(final)

    def put_group(self, meta: GroupMeta, expire: float) -> None:
        """Store a group's meta."""
        now = time.monotonic()
        self.groups[meta.GroupUUID] = _Group(meta, now + expire, touched=now)
        self.groups.move_to_end(meta.GroupUUID)

    def finished(self, meta: GroupMeta) -> bool:
        """True if all members are final; looks on from the first that was not, the last time."""
        group = self.group(meta.GroupUUID)
        done = 0 if group is None else group.done
        members = meta.TaskUUIDs
        while done < len(members):
            state = self.state(members[done])
            if state is None or not state.final:
                break
            done += 1
        if group is not None:
            group.done = max(group.done, done)
        return done >= len(members)

    def touch(self, uuids: Sequence[str], expire: float) -> None:
        """Let states and metas live on."""
        until = time.monotonic() + expire
        for uuid in uuids:
            if self.state(uuid) is not None:
                self.states[uuid].until = until
                self.states.move_to_end(uuid)
            group = self.group(uuid)
            if group is not None:
                group.until = until
                self.groups.move_to_end(uuid)

    def touch_group(self, group: _Group, expire: float) -> None:
        """Let a group live on: its meta each time, its many members four times in ``expire``."""
        now = time.monotonic()
        self.touch([group.meta.GroupUUID], expire)
        if now - group.touched > expire / 4:
            group.touched = now
            self.touch(group.meta.TaskUUIDs, expire)

    def trigger(self, group: _Group, by: str) -> bool:
        """Take the chord trigger, or know again who took it."""
        if group.meta.ChordTriggered:
            return by != "" and group.by == by
        group.meta = msgspec.structs.replace(group.meta, ChordTriggered=True)
        group.by = by
        return True

    def report(self, bodies: Mapping[str, bytes], expire: float) -> None:
        """Store reports."""
        now = time.monotonic()
        for uuid, body in bodies.items():
            self.reports[uuid] = (body, now + expire)
            self.reports.move_to_end(uuid)
        while self.reports and next(iter(self.reports.values()))[1] <= now:
            self.reports.popitem(last=False)

    def read_report(self, uuid: str) -> bytes | None:
        """A report that has not expired."""
        body, until = self.reports.get(uuid, (None, 0.0))
        return body if until > time.monotonic() else None

    def all_revoked(self) -> dict[str, float]:
        """UUIDs to seconds left; what has ended is let go."""
        now = time.monotonic()
        self.revoked = {uuid: until for uuid, until in self.revoked.items() if until > now}
        return {uuid: until - now for uuid, until in self.revoked.items()}

    def _sweep(self, now: float) -> None:
        for kept in (self.states, self.groups):
            while kept:
                uuid = next(iter(kept))
                if kept[uuid].until > now:
                    break
                del kept[uuid]


class _Fused:
    """What the memory broker writes through, in its own step."""

    def __init__(self, store: Store, expire: int) -> None:
        self._store = store
        self._expire = expire

    def locked(self) -> AbstractContextManager[object]:
        return self._store.lock

    def write(self, states: Sequence[TaskState]) -> None:
        self._store.write(states, self._expire)

    def complete(self, group_uuid: str, members: int) -> bool:
        group = self._store.group(group_uuid)
        if group is None or len(group.meta.TaskUUIDs) != members:
            return False
        self._store.touch_group(group, self._expire)
        return self._store.finished(group.meta)

    def take(self, group_uuid: str, by: str) -> bool:
        group = self._store.group(group_uuid)
        return group is not None and self._store.trigger(group, by)


_STORES: Final = Named(Store)


class MemoryBackend:
    """A result backend in this process; all that are open under one name share their states.

    With the last of them, the states are gone. A forked child has a copy of its own.

    Args:
        name: whom to share with; "" is a name like any other.
        expire: seconds a state or a group meta lives after its last write; 1 or more.
    """

    connection_errors: tuple[type[BaseException], ...] = ()
    keeps = True

    def __init__(self, name: str = "", *, expire: int = 3600) -> None:
        if expire < 1:
            raise ConfigError(f"expire is {expire!r}, expected 1 or more seconds")
        self.expire = expire
        self._store = _STORES.get(name)
        self._watches: list[Callable[[], None]] = []

    def states_in_process(self) -> _Fused:
        """Lets the memory broker write states in the step that settles a delivery."""
        return _Fused(self._store, self.expire)

    def write(self, states: Sequence[TaskState]) -> None:
        with self._store.lock:
            self._store.write(states, self.expire)

    def read(self, uuids: Sequence[str]) -> list[TaskState | None]:
        with self._store.lock:
            return [self._store.state(uuid) for uuid in uuids]

    def create_group(self, meta: GroupMeta) -> None:
        with self._store.lock:
            self._store.put_group(meta, self.expire)

    def read_group(self, group_uuid: str) -> GroupMeta | None:
        with self._store.lock:
            group = self._store.group(group_uuid)
            return None if group is None else group.meta

    def finished(self, meta: GroupMeta) -> bool:
        with self._store.lock:
            return self._store.finished(meta)

    def trigger(self, group_uuid: str, by: str) -> bool:
        with self._store.lock:
            group = self._store.group(group_uuid)
            if group is None:
                raise BackendError(
                    f"group {group_uuid!r} is not known (any more), its chord cannot be triggered"
                )
            return self._store.trigger(group, by)

    def touch(self, uuids: Sequence[str]) -> None:
        with self._store.lock:
            self._store.touch(uuids, self.expire)

    def purge(self, uuids: Sequence[str]) -> None:
        with self._store.lock:
            for uuid in uuids:
                self._store.states.pop(uuid, None)
                self._store.groups.pop(uuid, None)
                self._store.reports.pop(uuid, None)

    def report(self, bodies: Mapping[str, bytes]) -> None:
        with self._store.lock:
            self._store.report(bodies, self.expire)

    def reports(self, uuids: Sequence[str]) -> list[bytes | None]:
        with self._store.lock:
            return [self._store.read_report(uuid) for uuid in uuids]

    def revoke(self, uuids: Sequence[str], seconds: float) -> None:
        with self._store.lock:
            until = time.monotonic() + seconds
            self._store.all_revoked()
            for uuid in uuids:
                self._store.revoked[uuid] = max(until, self._store.revoked.get(uuid, 0.0))
            self._store.revocations.announce(uuids)

    def revoked(self) -> dict[str, float]:
        with self._store.lock:
            return self._store.all_revoked()

    def watch_revoked(self, wake: Callable[[dict[str, float]], None]) -> Callable[[], None]:
        def told(uuids: Sequence[str]) -> None:
            known = self.revoked()
            wake({uuid: known[uuid] for uuid in uuids if uuid in known})

        with self._store.lock:
            stop = self._store.revocations.watch(told)
            self._store.revocations.announce(list(self._store.all_revoked()))
            self._watches.append(stop)
        return stop

    def claim(self, key: str, holder: str, seconds: float) -> str:
        with self._store.lock:
            now = time.monotonic()
            self._store.claims = {k: claim for k, claim in self._store.claims.items() if claim[1] > now}
            return self._store.claims.setdefault(key, (holder, now + seconds))[0]

    def release(self, key: str, holder: str) -> None:
        with self._store.lock:
            if self._store.claims.get(key, ("", 0.0))[0] == holder:
                del self._store.claims[key]

    def watch(self, wake: Callable[[Sequence[str]], None]) -> Callable[[], None]:
        with self._store.lock:
            stop = self._store.announcer.watch(wake)
            self._watches.append(stop)
        return stop

    def close(self) -> None:
        """End this backend's watches. The states stay while another of the same name is open."""
        watches, self._watches = self._watches, []
        for stop in watches:
            stop()
