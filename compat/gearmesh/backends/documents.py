"""Reads the states and group metas that a backend stores as Go's JSON texts."""

from __future__ import annotations

from collections.abc import Sequence

from gearmesh.errors import BackendError, RemoteProtocolError
from gearmesh.wire.codec import decode_group, decode_state, decode_states
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["found_group", "meta_from", "state_from", "states_from"]


def state_from(uuid: str, body: bytes) -> TaskState:
    """Read the state that is stored under a UUID, as Go does. Raises BackendError."""
    try:
        return decode_state(body)
    except RemoteProtocolError as exc:
        raise BackendError(f"task {uuid}: the stored value is no TaskState: {exc}") from exc


def states_from(uuids: Sequence[str], bodies: Sequence[bytes | None]) -> list[TaskState | None]:
    """Decode the stored text of each UUID, as :func:`state_from` does; None stands for a UUID without a text."""
    try:
        states = iter(decode_states([body for body in bodies if body is not None]))
    except RemoteProtocolError:  # decode one by one, so that the error names the task
        return [
            None if body is None else state_from(uuid, body) for uuid, body in zip(uuids, bodies, strict=True)
        ]
    return [None if body is None else next(states) for body in bodies]


def meta_from(group_uuid: str, body: bytes) -> GroupMeta:
    """Read the meta that is stored under a group's UUID, as Go does. Raises BackendError."""
    try:
        return decode_group(body)
    except RemoteProtocolError as exc:
        raise BackendError(f"group {group_uuid}: the stored value is no GroupMeta: {exc}") from exc


def found_group(group_uuid: str, body: bytes | None) -> GroupMeta | None:
    """Read the group that is stored under a UUID. None: no value, or a task's state, whose key has the same form.

    Raises:
        BackendError: the value is neither a group nor a state.
    """
    meta = None if body is None else meta_from(group_uuid, body)
    return meta if meta is not None and meta.GroupUUID else None
