"""Decides if a group is complete, and reads the states with which its chord fires.

Only flushes in several steps use it: if broker and results are on one Redis, ``redis_client/lua/commit.lua`` decides.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from gearmesh.commits.group_cache import GroupCache
from gearmesh.errors import BackendError
from gearmesh.interfaces.backend import Backend, CountsMembers
from gearmesh.interfaces.commit import Commit
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["Ended", "GroupCompletion", "groups_of", "member_states"]

log = logging.getLogger("gearmesh.worker")

#: A group's UUID, and the final state of a member that is to be put into it.
Ended = tuple[str, TaskState]


class GroupCompletion(Protocol):
    """Answers a flush's questions about groups. A flush calls these methods in order, in one thread."""

    def look(self, commit: Commit) -> Ended | None:
        """Return the member's final state if it is to be counted. Called before any state is written.

        The flush then gives it to :meth:`count`, or to :meth:`complete` with its commit.

        Raises:
            ChordBusy: the commit has to wait.
        """

    def count(self, finals: Sequence[Ended]) -> None:
        """Put these final states into their groups. Called after the states are written."""

    def complete(self, commit: Commit, final: Ended | None) -> bool:
        """True if the commit's member is to fire its chord."""

    def finish(self, group_uuid: str, by: str, fired: bool) -> None:
        """End the turn of the member ``by``, which has sent the callback (``fired``) or will not send it."""


def groups_of(backend: Backend) -> GroupCompletion:
    """Return the GroupCompletion for a backend, which lists a group's members or counts them."""
    return _CountedMembers(backend) if isinstance(backend, CountsMembers) else _ListedMembers(backend)


def member_states(backend: Backend, group_uuid: str, by: str) -> Sequence[TaskState | None] | None:
    """Return the states with which the chord of a complete group fires, in the members' order if it is known.

    A None in the list stands for a state that has expired. None instead of a list: the member ``by`` has lost the
    states that it had gathered, so the caller must ask again if the group is complete.
    """
    if isinstance(backend, CountsMembers):
        return backend.gathered(group_uuid, by)
    meta = backend.read_group(group_uuid)
    return [None] if meta is None else backend.read(meta.TaskUUIDs)


class _ListedMembers:
    """Reads a group's members from its GroupMeta."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._groups = GroupCache(backend.read_group)

    def look(self, commit: Commit) -> Ended | None:
        return None

    def count(self, finals: Sequence[Ended]) -> None:
        pass

    def complete(self, commit: Commit, final: Ended | None) -> bool:
        chord = commit.chord
        meta = None if chord is None else self._meta(chord.group_uuid)
        # Go: a group whose meta is gone, or names another number of members, never fires.
        if chord is None or meta is None or len(meta.TaskUUIDs) != chord.count:
            return False
        return self._backend.finished(meta)

    def finish(self, group_uuid: str, by: str, fired: bool) -> None:
        pass

    def _meta(self, group_uuid: str) -> GroupMeta | None:
        try:
            group = self._groups.get(group_uuid)
        except BackendError as exc:
            # The member is done all the same. Go: its group never fires.
            log.error("%s: its chord will not fire", exc)
            return None
        return None if group is None else group.meta


class _CountedMembers:
    """Counts a group's members by their final states, see :class:`~gearmesh.interfaces.backend.CountsMembers`."""

    def __init__(self, backend: CountsMembers) -> None:
        self._backend = backend

    def look(self, commit: Commit) -> Ended | None:
        member, states = commit.member, commit.states
        if member is None or not states:
            return None
        size = 0 if commit.chord is None else commit.chord.count
        if self._backend.counted(member.group_uuid, member.task_uuid, member.again, size):
            return None
        own = next((state for state in states if state.TaskUUID == member.task_uuid), states[0])
        return member.group_uuid, own

    def count(self, finals: Sequence[Ended]) -> None:
        self._backend.count(finals)

    def complete(self, commit: Commit, final: Ended | None) -> bool:
        chord, member = commit.chord, commit.member
        if chord is None or member is None:
            return False
        own = None if final is None else final[1]
        return self._backend.gather(chord.group_uuid, chord.count, member.task_uuid, member.again, own)

    def finish(self, group_uuid: str, by: str, fired: bool) -> None:
        self._backend.release_group(group_uuid, by, fired)
