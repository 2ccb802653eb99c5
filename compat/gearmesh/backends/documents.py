"""Reads the states and group metas that a backend stores as Go's JSON texts."""

from __future__ import annotations

from gearmesh.errors import BackendError, RemoteProtocolError
from gearmesh.wire.codec import decode_group, decode_state
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["found_group", "meta_from", "state_from"]


def state_from(uuid: str, body: bytes) -> TaskState:
    """Read the state that is stored under a UUID, as Go does. Raises BackendError."""
    try:
        return decode_state(body)
    except RemoteProtocolError as exc:
        raise BackendError(f"task {uuid}: what is stored is no TaskState: {exc}") from exc


def meta_from(group_uuid: str, body: bytes) -> GroupMeta:
    """Read the meta that is stored under a group's UUID, as Go does. Raises BackendError."""
    try:
        return decode_group(body)
    except RemoteProtocolError as exc:
        raise BackendError(f"group {group_uuid}: what is stored is no GroupMeta: {exc}") from exc


def found_group(group_uuid: str, body: bytes | None) -> GroupMeta | None:
    """Read what is stored under a UUID; None: nothing, or the state of a task, whose key is of the same form.

    Raises:
        BackendError: it is neither.
    """
    meta = None if body is None else meta_from(group_uuid, body)
    return meta if meta is not None and meta.GroupUUID else None
