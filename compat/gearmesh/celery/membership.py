"""Which group the end of a task counts for, where it is counted (RabbitMQ as the result backend)."""

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
    """A task as a member of a group: the group's UUID and size. ``again``: the task may have been counted before."""

    group_uuid: str
    count: int
    again: bool


def member_of(sig: Signature) -> Membership | None:
    """The group of a signature that a Go program made."""
    if not sig.GroupUUID or not sig.GroupTaskCount:  # Go: nor does it count a group of none
        return None
    return Membership(sig.GroupUUID, sig.GroupTaskCount, True)


def membership(group_of: Callable[[str], GroupMeta | None], request: Any) -> Membership | None:
    """The group of a task that runs in a Celery worker: of its chord, or the one that a Go program sent it in.

    ``group_of``: looks up a group's meta.
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
