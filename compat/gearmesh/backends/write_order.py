"""The order in which a backend stores a task's state and the records beside it."""

from __future__ import annotations

from collections.abc import Sequence

from gearmesh.wire.names import is_record
from gearmesh.wire.state import TaskState

__all__ = ["records_first"]


def records_first(states: Sequence[TaskState]) -> list[Sequence[TaskState]]:
    """Split states into parts to be stored one after another: the records beside tasks' states, then the rest.

    A caller that sees a task's FAILURE reads its failure record at once, and does not read it again. So a backend whose
    servers or shards store the states of one request in any order makes two requests.
    """
    records = [state for state in states if is_record(state.TaskUUID)]
    rest = [state for state in states if not is_record(state.TaskUUID)]
    return [part for part in (records, rest) if part]
