"""Finds the group in which a task is a member, for a backend that counts members (RabbitMQ)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gearmesh.celery.codec import ORIGIN_HEADER
from gearmesh.celery.step_types import is_raw
from gearmesh.wire.codec import decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from gearmesh.wire.signature import Signature
    from gearmesh.wire.state import GroupMeta

__all__ = ["Membership", "member_of", "membership"]


class Membership(msgspec.Struct, frozen=True):
    """The membership of a task in a group of ``count`` members. ``again``: an earlier run may have been counted."""

    group_uuid: str
    count: int
    again: bool


def member_of(sig: Signature) -> Membership | None:
    """The membership of a signature that a Go program made; None if it is not in a group."""
    if not sig.GroupUUID or not sig.GroupTaskCount:  # Go: a group without members is not counted
        return None
    return Membership(sig.GroupUUID, sig.GroupTaskCount, True)


def membership(group_of: Callable[[str], GroupMeta | None], request: Any) -> Membership | None:
    """The membership of a task that runs in a Celery worker; None if it is not in a group.

    The group is the one of the task's chord, or the one in which a Go program sent the task.

    Args:
        group_of: reads a group's meta by its UUID.
        request: Celery's request of the running task.
    """
    again = bool((request.delivery_info or {}).get("redelivered")) or request.retries > 0
    group, chord = request.group, request.chord
    if group and chord:
        if is_raw(chord):
            return Membership(group, chord["kwargs"]["count"], again)
        meta = group_of(group)
        return None if meta is None else Membership(group, len(meta.TaskUUIDs), again)
    origin = (request.headers or {}).get(ORIGIN_HEADER)
    found = member_of(decode(origin.encode())) if isinstance(origin, str) else None
    return None if found is None else msgspec.structs.replace(found, again=again)
