"""Caches the groups that a process works on, so that a completion costs O(1) and not O(members)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from gearmesh.bounded_dict import BoundedDict
from gearmesh.errors import RemoteProtocolError
from gearmesh.wire.gotime import parse
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["CachedGroup", "GroupCache", "leading"]

#: Members in the first read, and the most in any read: most completions find that the next member still runs.
FIRST_READ_MEMBERS, MAX_READ_MEMBERS = 2, 512
#: The largest number of members of a group, after the first that still runs, that are remembered as final.
MAX_ENDED_OUT_OF_ORDER = 10_000


class CachedGroup:
    """One group: its meta, its members' UUIDs, how many leading members are known to be final, and other final ones."""

    __slots__ = ("ahead", "known", "members", "meta", "pruned", "touched_at", "uuid")

    def __init__(self, meta: GroupMeta) -> None:
        self.meta = meta
        self.uuid = meta.GroupUUID
        self.members = meta.TaskUUIDs
        self.known = 0
        self.ahead: set[str] = set()
        #: the number of leading members that were removed from ``ahead``
        self.pruned = 0
        #: monotonic time at which its keys last got their full life
        self.touched_at = time.monotonic() - _age_s(meta)


class GroupCache:
    """Remembers the groups used last, and how many of their leading members are final. Safe in threads, not across a
    fork.

    Args:
        load: reads the meta of a group's UUID; None if it is not stored (any more). Its errors go through.
        touch: lets the keys of these UUIDs live ``expire`` seconds from now; None: nothing is touched.
        expire: seconds. Members and meta are touched ten times in that span, and not at the first look at a group that
            was sent just now, so that a chord may take longer than its states live. (Go's cannot.)
        max_groups: the number of groups remembered.
    """

    def __init__(
        self,
        load: Callable[[str], GroupMeta | None],
        touch: Callable[[Sequence[str]], None] | None = None,
        expire: int = 0,
        *,
        max_groups: int = 256,
    ) -> None:
        self._load = load
        self._touch = touch
        self._touch_interval_s = expire / 10
        self._groups = BoundedDict[str, CachedGroup](max_groups)

    def get(self, uuid: str) -> CachedGroup | None:
        """Return the group, from memory or the backend; None if it is not stored (any more)."""
        group = self._groups.get(uuid)
        if group is None:
            meta = self._load(uuid)
            if meta is None:
                return None
            group = self.put(meta)
        self._keep_alive(group)
        return group

    def put(self, meta: GroupMeta) -> CachedGroup:
        """Remember a group by its meta; a group that is remembered already keeps its progress."""
        return self._groups.get(meta.GroupUUID) or self._groups.setdefault(meta.GroupUUID, CachedGroup(meta))

    def forget(self, uuid: str) -> None:
        """Forget a group, because its states were deleted or replaced."""
        self._groups.pop(uuid)

    def note(self, uuid: str, known: int) -> None:
        """Remember that the first ``known`` members are final; a finished group is forgotten."""
        group = self._groups.get(uuid)
        if group is None:
            return
        if known > group.known:  # two threads at once may set it back: some members are read again then
            group.known = known
        if group.known >= len(group.members):
            self._groups.pop(uuid)

    def ended(self, uuid: str, members: Iterable[str]) -> None:
        """Remember that these members are final: this process has stored their states, and need not read them.

        A group that is not remembered, or has very many members behind one that still runs, is read as before.
        """
        group = self._groups.get(uuid)
        if group is None:
            return
        ahead, known = group.ahead, group.known
        ahead.update(members)
        while known < len(group.members) and group.members[known] in ahead:
            known += 1
        ahead.difference_update(group.members[group.pruned : known])
        group.pruned = known
        if len(ahead) > MAX_ENDED_OUT_OF_ORDER:
            ahead.clear()
        group.known = max(group.known, known)

    def finished(self, meta: GroupMeta, leading: Callable[[Sequence[str]], int]) -> bool:
        """See :meth:`gearmesh.interfaces.backend.Backend.finished`, for backends that read members' states from here.

        The members are read in order, and once they are final never again by this process.

        Args:
            leading: the number of these UUIDs, from the first on, that are SUCCESS or FAILURE without a gap.
        """
        group = self.put(meta)
        self._keep_alive(group)
        known, size = group.known, FIRST_READ_MEMBERS
        while known < len(group.members):
            part = group.members[known : known + size]
            done = leading(part)
            known += done
            if done < len(part):
                break
            size = min(size * 4, MAX_READ_MEMBERS)
        self.note(meta.GroupUUID, known)
        return known >= len(group.members)

    def _keep_alive(self, group: CachedGroup) -> None:
        now = time.monotonic()
        if self._touch is not None and now - group.touched_at > self._touch_interval_s:
            self._touch((group.uuid, *group.members))
            group.touched_at = now


def _age_s(meta: GroupMeta) -> float:
    """Return the seconds since the group was sent, with the states of its members; infinity: not known."""
    try:
        age = (time.time_ns() - parse(meta.CreatedAt)) / 1e9
    except RemoteProtocolError:
        return float("inf")
    return age if age >= 0 else float("inf")  # the sender's clock is ahead of this one


def leading(states: Sequence[TaskState | None]) -> int:
    """Return how many states, from the first on, are SUCCESS or FAILURE without a gap."""
    return next((i for i, state in enumerate(states) if state is None or not state.final), len(states))
