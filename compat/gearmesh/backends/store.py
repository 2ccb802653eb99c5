"""The store of the memory backends of one name: states, groups, reports, revocations and claims."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from gearmesh.backends.announcer import Announcer
from gearmesh.wire.state import PENDING, RECEIVED, STARTED, GroupMeta, TaskState

__all__ = ["Store", "StoredGroup"]


@dataclass(slots=True)
class _StoredState:
    state: TaskState
    #: Monotonic time at which it expires.
    until: float


@dataclass(slots=True)
class StoredGroup:
    """A group's meta, and how far its members are."""

    meta: GroupMeta
    #: Monotonic time at which it expires.
    until: float
    #: The number of leading members that are known to be final.
    done: int = 0
    #: The ``by`` that took the chord trigger; "": not taken, or taken by Go.
    by: str = ""
    #: Monotonic time at which the lives of all members were last extended.
    touched: float = 0.0


class Store:
    """Keeps all that the backends of one name share. The caller of each method holds :attr:`lock`.

    ``expire`` is seconds from now in all methods; moments are monotonic.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.lock = threading.RLock()
        # The least recently written is first, so expired entries are found there.
        self.states: OrderedDict[str, _StoredState] = OrderedDict()
        self.groups: OrderedDict[str, StoredGroup] = OrderedDict()
        self.announcer = Announcer()
        #: UUID -> progress report, and when it expires; the oldest first
        self.reports: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        #: UUID -> when the revocation ends
        self.revoked: dict[str, float] = {}
        self.revocations = Announcer()
        #: key -> its holder, and when the claim ends
        self.claims: dict[str, tuple[str, float]] = {}

    def state(self, uuid: str) -> TaskState | None:
        """Find a state; None if it does not exist or has expired."""
        stored = self.states.get(uuid)
        return stored.state if stored is not None and stored.until > time.monotonic() else None

    def group(self, uuid: str) -> StoredGroup | None:
        """Find a group; None if it does not exist or has expired."""
        group = self.groups.get(uuid)
        return group if group is not None and group.until > time.monotonic() else None

    def write(self, states: Sequence[TaskState], expire: float) -> None:
        """Store states, each merged with the stored one, and announce final ones."""
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
            self.states[uuid] = _StoredState(state, now + expire)
            self.states.move_to_end(uuid)
            if state.final:
                final.append(uuid)
        self._sweep(now)
        self.announcer.announce(final)

    def unless_success(self, states: Sequence[TaskState]) -> list[TaskState]:
        """Leave out the states of tasks whose stored state is SUCCESS."""
        stored = ((state, self.state(state.TaskUUID)) for state in states)
        return [state for state, old in stored if old is None or not old.success]

    def put_group(self, meta: GroupMeta, expire: float) -> None:
        """Store a group's meta."""
        now = time.monotonic()
        self.groups[meta.GroupUUID] = StoredGroup(meta, now + expire, touched=now)
        self.groups.move_to_end(meta.GroupUUID)

    def finished(self, meta: GroupMeta) -> bool:
        """True if all members are final; begins with the first one that was not at the last call."""
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
        """Extend the lives of states and metas."""
        until = time.monotonic() + expire
        for uuid in uuids:
            if self.state(uuid) is not None:
                self.states[uuid].until = until
                self.states.move_to_end(uuid)
            group = self.group(uuid)
            if group is not None:
                group.until = until
                self.groups.move_to_end(uuid)

    def touch_group(self, group: StoredGroup, expire: float) -> None:
        """Extend the life of a group: of its meta each time, of its many members four times in ``expire``."""
        now = time.monotonic()
        self.touch([group.meta.GroupUUID], expire)
        if now - group.touched > expire / 4:
            group.touched = now
            self.touch(group.meta.TaskUUIDs, expire)

    def trigger(self, group: StoredGroup, by: str) -> bool:
        """Take the chord trigger: True for the first ``by``, and for that one again."""
        if group.meta.ChordTriggered:
            return by != "" and group.by == by
        group.meta = msgspec.structs.replace(group.meta, ChordTriggered=True)
        group.by = by
        return True

    def report(self, bodies: Mapping[str, bytes], expire: float) -> None:
        """Store progress reports."""
        now = time.monotonic()
        for uuid, body in bodies.items():
            self.reports[uuid] = (body, now + expire)
            self.reports.move_to_end(uuid)
        while self.reports and next(iter(self.reports.values()))[1] <= now:
            self.reports.popitem(last=False)

    def read_report(self, uuid: str) -> bytes | None:
        """Find a report; None if it does not exist or has expired."""
        body, until = self.reports.get(uuid, (None, 0.0))
        return body if until > time.monotonic() else None

    def all_revoked(self) -> dict[str, float]:
        """Drop the revocations that have ended, and return the seconds left by UUID."""
        now = time.monotonic()
        self.revoked = {uuid: until for uuid, until in self.revoked.items() if until > now}
        return {uuid: until - now for uuid, until in self.revoked.items()}

    def _sweep(self, now: float) -> None:
        for entries in (self.states, self.groups):
            while entries:
                uuid = next(iter(entries))
                if entries[uuid].until > now:
                    break
                del entries[uuid]
