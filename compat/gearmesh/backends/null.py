"""``null``: keeps nothing. Tasks run, nobody can ask how they went."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gearmesh.errors import BackendError
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["NullBackend"]


class NullBackend:
    """A result backend that forgets at once. A chord can't complete on it: nobody knows its members.

    Args:
        expire: as for other backends; changes nothing.
    """

    connection_errors: tuple[type[BaseException], ...] = ()
    keeps = False

    def __init__(self, *, expire: int = 3600) -> None:
        self.expire = expire

    def write(self, states: Sequence[TaskState]) -> None:
        """Nothing is stored."""

    def read(self, uuids: Sequence[str]) -> list[TaskState | None]:
        """None for each."""
        return [None] * len(uuids)

    def create_group(self, meta: GroupMeta) -> None:
        """Nothing is stored."""

    def read_group(self, group_uuid: str) -> GroupMeta | None:
        """Always None."""
        return None

    def finished(self, meta: GroupMeta) -> bool:
        """True only for a group without members."""
        return not meta.TaskUUIDs

    def trigger(self, group_uuid: str, by: str) -> bool:
        """Always raises BackendError: there is no such group."""
        raise BackendError(
            f"group {group_uuid!r}: the null backend keeps no groups, a chord needs another backend"
        )

    def touch(self, uuids: Sequence[str]) -> None:
        """There is nothing to touch."""

    def purge(self, uuids: Sequence[str]) -> None:
        """There is nothing to forget."""

    def watch(self, wake: Callable[[Sequence[str]], None]) -> Callable[[], None] | None:
        """Always None: nothing is announced."""
        return None

    def close(self) -> None:
        """There is nothing to close."""
