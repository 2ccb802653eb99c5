"""Finds out if a group is finished, for backends whose members' states have to be read from here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gearmesh.commits.group_cache import GroupCache
from gearmesh.wire.state import GroupMeta

__all__ = ["MemberProgress"]

#: Members of the first look, and of any look: most find that the next one still runs.
FIRST_READ_MEMBERS, MAX_READ_MEMBERS = 2, 512


class MemberProgress:
    """A group's members are looked at in order, and once they are final never again (by this process).

    Args:
        load, touch, expire: as for :class:`~gearmesh.commits.group_cache.GroupCache`.
        leading: how many of these UUIDs, from the first on, are SUCCESS or FAILURE without a gap.
    """

    def __init__(
        self,
        load: Callable[[str], GroupMeta | None],
        touch: Callable[[Sequence[str]], None],
        leading: Callable[[Sequence[str]], int],
        expire: int,
    ) -> None:
        self._groups = GroupCache(load, touch, expire)
        self._leading = leading

    def finished(self, meta: GroupMeta) -> bool:
        """See :meth:`gearmesh.interfaces.backend.Backend.finished`."""
        group = self._groups.get(meta.GroupUUID) or self._groups.put(meta)
        known, size = group.known, FIRST_READ_MEMBERS
        while known < len(group.members):
            part = group.members[known : known + size]
            done = self._leading(part)
            known += done
            if done < len(part):
                break
            size = min(size * 4, MAX_READ_MEMBERS)
        self._groups.note(meta.GroupUUID, known)
        return known >= len(group.members)
