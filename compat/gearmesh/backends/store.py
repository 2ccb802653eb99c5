"""What the memory backend keeps under one name."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from gearmesh.backends.announcer import Announcer
from gearmesh.wire.state import PENDING, RECEIVED, STARTED, GroupMeta, TaskState

__all__ = ["KeptGroup", "Store"]


@dataclass(slots=True)
class _Kept:
    """A state, and the monotonic time at which it is forgotten."""

    state: TaskState
    until: float


@dataclass(slots=True)
class KeptGroup:
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
    """All states of one name, and what is kept beside them. Every method is called with :attr:`lock` held."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.lock = threading.RLock()
        # The least recently written is first, so what has expired is found there.
        self.states: OrderedDict[str, _Kept] = OrderedDict()
        self.groups: OrderedDict[str, KeptGroup] = OrderedDict()
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

    def group(self, uuid: str) -> KeptGroup | None:
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

    def unless_success(self, states: Sequence[TaskState]) -> list[TaskState]:
        """Those whose tasks have not succeeded."""
        stored = ((state, self.state(state.TaskUUID)) for state in states)
        return [state for state, old in stored if old is None or not old.success]

    def put_group(self, meta: GroupMeta, expire: float) -> None:
        """Store a group's meta."""
        now = time.monotonic()
        self.groups[meta.GroupUUID] = KeptGroup(meta, now + expire, touched=now)
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

    def touch_group(self, group: KeptGroup, expire: float) -> None:
        """Let a group live on: its meta each time, its many members four times in ``expire``."""
        now = time.monotonic()
        self.touch([group.meta.GroupUUID], expire)
        if now - group.touched > expire / 4:
            group.touched = now
            self.touch(group.meta.TaskUUIDs, expire)

    def trigger(self, group: KeptGroup, by: str) -> bool:
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
