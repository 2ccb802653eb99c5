"""The documents that a result backend keeps: the state of a task, the meta of a group.

Source: ``tasks.TaskState``, ``tasks.TaskResult`` and ``tasks.GroupMeta`` of Machinery, as
recorded in ``tests/golden/redis`` and ``tests/golden/results_redis.json``.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gearmesh.wire.signature import Int64

__all__ = [
    "FAILURE",
    "PENDING",
    "RECEIVED",
    "RETRY",
    "STARTED",
    "SUCCESS",
    "ZERO_TIME",
    "GroupMeta",
    "TaskResult",
    "TaskState",
]

PENDING: Final = "PENDING"
RECEIVED: Final = "RECEIVED"
STARTED: Final = "STARTED"
RETRY: Final = "RETRY"
SUCCESS: Final = "SUCCESS"
FAILURE: Final = "FAILURE"

#: Go: the zero ``time.Time`` as text; in place of a time it means that the time is not known.
ZERO_TIME: Final = "0001-01-01T00:00:00Z"

_NULL = msgspec.Raw(b"null")


class TaskResult(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One returned value: a Go type name (bytes are ``[]uint8``) and canonical JSON text."""

    Type: str = ""
    Value: msgspec.Raw = _NULL

    def __hash__(self) -> int:
        return hash(self.Type)  # Raw has no hash


class TaskState(msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """The state of a task, as the result backend keeps it.

    Attributes:
        TaskUUID: the task. TaskName: ``""`` if Machinery does not store it.
        State: one of the constants of this module.
        Results: None (``null``) until SUCCESS; ``()`` (``[]``) for a task that returns nothing.
        Error: the error's text with FAILURE, otherwise ``""``.
        CreatedAt: the time at which it first was PENDING, as RFC 3339 text; :data:`ZERO_TIME`: not known.
        TTL: Go: unix seconds on DynamoDB, 0 elsewhere; gearmesh's backends leave it 0.
    """

    TaskUUID: str = ""
    TaskName: str = ""
    State: str = ""
    Results: tuple[TaskResult, ...] | None = None
    Error: str = ""
    CreatedAt: str = ZERO_TIME
    TTL: Int64 = 0

    @property
    def success(self) -> bool:
        """True for SUCCESS."""
        return self.State == SUCCESS

    @property
    def final(self) -> bool:
        """True for SUCCESS and FAILURE: no other state follows."""
        return self.State == SUCCESS or self.State == FAILURE


class GroupMeta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lists the UUIDs of a group's members, and says whether its chord was triggered.

    Attributes:
        GroupUUID: the group. TaskUUIDs: its members in order (``null`` is read as an empty list).
        ChordTriggered: True: a worker has taken the right to send the chord's callback.
        Lock: Go: Memcache's substitute for a mutex; always false on other backends.
        CreatedAt, TTL: as in :class:`TaskState`.
    """

    GroupUUID: str = ""
    TaskUUIDs: tuple[str, ...] = ()
    ChordTriggered: bool = False
    Lock: bool = False
    CreatedAt: str = ZERO_TIME
    TTL: Int64 = 0
