"""Protocols for readers that page through everything with bounded work, such as a dashboard.

A walk visits a store in steps. It begins with the cursor ``""``; each step gives the cursor of the next one, and ``""``
after the last. A walk visits each entry that is there all the time at least once; it may miss an entry that comes or
goes meanwhile. A step reads about ``count`` entries of the store, however many of them it returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

from gearmesh.interfaces.transport import DeadLetter, DelayedMessage
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["HISTORY_BLOCK_MINUTES", "Minutes", "SupportsHistory", "SupportsPaging", "SupportsStateWalk"]

#: The number of minutes that a broker keeps under one key.
HISTORY_BLOCK_MINUTES: Final = 60
#: Minute of the Unix time -> outcome -> how many tasks had it. Beside the outcomes, "run_ms": the milliseconds that
#: these tasks ran.
Minutes = dict[int, dict[str, int]]


@runtime_checkable
class SupportsPaging(Protocol):
    """A channel that reads messages from any position, and changes nothing by it (Redis, memory).

    RabbitMQ, SQS and Pub/Sub show a message only by delivering it, so they do not have these verbs.
    """

    def pending_page(self, queue: str, start: int, count: int) -> list[bytes]:
        """Read ``count`` waiting messages of ``queue`` from position ``start`` on; 0 is the one that is next."""

    def delayed_page(self, start: int, count: int) -> list[DelayedMessage]:
        """Read ``count`` delayed messages of all queues, from position ``start`` on, the soonest first."""

    def delayed_count(self) -> int:
        """Count the delayed messages of all queues."""

    def dead_page(self, queue: str, start: int, count: int) -> list[DeadLetter]:
        """Read ``count`` dead letters of ``queue`` from position ``start`` on, the oldest first."""

    def walk_queues(self, cursor: str, count: int) -> tuple[str, set[str]]:
        """Take one step of a walk: the next cursor, and the queues that it found."""


@runtime_checkable
class SupportsHistory(Protocol):
    """A channel whose broker keeps how many tasks of a queue ended in each minute of the last hours (Redis)."""

    def add_history(self, queue: str, minute: int, counts: Mapping[str, int]) -> None:
        """Add to the counts of a minute, by outcome. A repetition counts again."""

    def history(self, queues: Sequence[str], start: int, end: int) -> dict[str, Minutes]:
        """Read the minutes from ``start`` up to ``end``, without ``end``, of some queues."""


@runtime_checkable
class SupportsStateWalk(Protocol):
    """A backend whose states and groups can be walked through (Redis, MongoDB, DynamoDB, memory)."""

    def walk_states(self, cursor: str, count: int) -> tuple[str, Sequence[TaskState | GroupMeta]]:
        """Take one step of a walk: the next cursor, and the states and groups that it found."""
