"""The backend ``null`` keeps nothing: tasks run, and their results cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gearmesh.errors import BackendError
from gearmesh.interfaces.backend import Wake
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["NullBackend"]


class NullBackend:
    """A result backend that stores nothing. A chord never fires on it, since no group is known.

    Args:
        expire: seconds, as for other backends; it has no effect.
    """

    connection_errors: tuple[type[BaseException], ...] = ()
    keeps = False

    def __init__(self, *, expire: int = 3600) -> None:
        self.expire = expire

    def write(self, states: Sequence[TaskState]) -> None:
        """Store nothing."""

    def read(self, uuids: Sequence[str]) -> list[TaskState | None]:
        """Return None for each UUID."""
        return [None] * len(uuids)

    def create_group(self, meta: GroupMeta) -> None:
        """Store nothing."""

    def read_group(self, group_uuid: str) -> GroupMeta | None:
        """Return None."""
        return None

    def finished(self, meta: GroupMeta) -> bool:
        """True for a group without members, and for no other."""
        return not meta.TaskUUIDs

    def trigger(self, group_uuid: str, by: str) -> bool:
        """Raise BackendError, since the group is not known."""
        raise BackendError(
            f"group {group_uuid!r}: the null backend keeps no groups, a chord needs another backend"
        )

    def touch(self, uuids: Sequence[str]) -> None:
        """Do nothing."""

    def purge(self, uuids: Sequence[str]) -> None:
        """Do nothing."""

    def watch(self, wake: Wake) -> Callable[[], None] | None:
        """Return None, since this backend announces nothing."""
        return None

    def close(self) -> None:
        """Do nothing."""
