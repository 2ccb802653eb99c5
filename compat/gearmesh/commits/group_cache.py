"""Caches the groups that a process works on, so that a completion costs O(1) and not O(members)."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from gearmesh.wire.state import GroupMeta

__all__ = ["CachedGroup", "GroupCache"]


class CachedGroup:
    """One group: its members, and how many leading ones are known to be final."""

    __slots__ = ("known", "members", "touched", "uuid")

    def __init__(self, meta: GroupMeta) -> None:
        self.uuid = meta.GroupUUID
        self.members = meta.TaskUUIDs
        self.known = 0
        self.touched = float("-inf")


class GroupCache:
    """A bounded cache of groups. Safe in threads.

    Args:
        load: reads a GroupMeta, or None.
        touch: lets keys live ``expire`` seconds from now.
        expire: seconds. Members and meta are touched at the first look and then ten times in that span,
            so that a chord may take longer than its states live. (Go's cannot.)
        limit: groups remembered.
    """

    def __init__(
        self,
        load: Callable[[str], GroupMeta | None],
        touch: Callable[[Sequence[str]], None],
        expire: int,
        limit: int = 256,
    ) -> None:
        self._load = load
        self._touch = touch
        self._pause = expire / 10
        self._limit = limit
        self._groups: OrderedDict[str, CachedGroup] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, uuid: str) -> CachedGroup | None:
        """The group, from memory or the backend; None if it is not there (any more)."""
        with self._lock:
            group = self._groups.get(uuid)
            if group is not None:
                self._groups.move_to_end(uuid)
        if group is None:
            meta = self._load(uuid)
            if meta is None:
                return None
            group = self.put(meta)
        now = time.monotonic()
        if now - group.touched > self._pause:
            self._touch((uuid, *group.members))
            group.touched = now
        return group

    def put(self, meta: GroupMeta) -> CachedGroup:
        """Remember a group whose meta is at hand."""
        group = CachedGroup(meta)
        with self._lock:
            group = self._groups.setdefault(meta.GroupUUID, group)
            while len(self._groups) > self._limit:
                self._groups.popitem(last=False)
        return group

    def note(self, uuid: str, known: int) -> None:
        """The first ``known`` members are final; a finished group is forgotten."""
        with self._lock:
            group = self._groups.get(uuid)
            if group is None:
                return
            group.known = max(group.known, known)
            if group.known >= len(group.members):
                del self._groups[uuid]
