"""States of tasks, for people and for scripts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from rich.text import Text

from gearmesh.cli.display import moment, show_rows
from gearmesh.errors import ProtocolError
from gearmesh.wire import gotime
from gearmesh.wire.codec import encode_state
from gearmesh.wire.state import FAILURE, SUCCESS, ZERO_TIME, TaskState

__all__ = ["outcome_of", "show_states", "state_json", "state_text"]

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


def show_states(states: Iterable[TaskState], *, wide: bool = False) -> None:
    """Print UUID, task, state, result or error, and time of creation."""
    show_rows(
        ("uuid", "task", "state", "result", "created"),
        [
            (state.TaskUUID, state.TaskName, state_text(state), outcome_of(state), _created(state))
            for state in states
        ],
        wide=wide,
    )


def state_json(state: TaskState) -> Any:
    """The state as it is stored, as JSON."""
    return msgspec.Raw(encode_state(state))


def _created(state: TaskState) -> str:
    if not state.CreatedAt or state.CreatedAt == ZERO_TIME:  # Memcache and AMQP keep it with PENDING only
        return ""
    try:
        return moment(gotime.parse(state.CreatedAt) / 1e9)
    except (ProtocolError, ValueError):
        return state.CreatedAt
