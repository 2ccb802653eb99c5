"""States as rich tables."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from gearmesh.wire.state import FAILURE, SUCCESS, TaskState

__all__ = ["outcome_of", "state_table", "state_text"]

_COLOURS = {SUCCESS: "green", FAILURE: "red"}


def state_text(state: TaskState | None) -> Text:
    """The state's name in its colour; ``-`` where there is none."""
    name = state.State if state else "-"
    return Text(name, style=_COLOURS.get(name, "yellow"))


def outcome_of(state: TaskState | None) -> Text:
    """Typed results, ``int64 3``, one a line; or the error's text."""
    if state is None:
        return Text()
    if state.Error:
        return Text(state.Error, style="red")
    lines = (f"{result.Type} {bytes(result.Value).decode()}" for result in state.Results or ())
    return Text("\n".join(lines))


def state_table(states: Iterable[TaskState]) -> Table:
    """UUID, task, state, result or error, time of creation."""
    table = Table(box=None, pad_edge=False)
    table.add_column("uuid", no_wrap=True)  # to be copied
    for heading in ("task", "state", "result", "created"):
        table.add_column(heading, overflow="fold")
    for state in states:
        table.add_row(state.TaskUUID, state.TaskName, state_text(state), outcome_of(state), state.CreatedAt)
    return table
