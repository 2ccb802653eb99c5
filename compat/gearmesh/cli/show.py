"""Shows states of tasks, for people and for scripts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from rich.text import Text

from gearmesh.cli.tables import Cell, Column, Table
from gearmesh.cli.times import time_cell
from gearmesh.inspection.times import exact, exact_or_none, ns_of, span
from gearmesh.results.progress import Progress
from gearmesh.wire.state import FAILURE, SUCCESS, TaskState

__all__ = ["outcome_of", "progress_text", "show_states", "state_json", "state_text"]

_COLOURS: Final = {SUCCESS: "green", FAILURE: "red"}
_WAITING_COLOUR: Final = "yellow"


def state_text(state: TaskState | None) -> Text:
    """The state's name in its colour; ``-`` for None."""
    name = state.State if state else "-"
    return Text(name, style=_COLOURS.get(name, _WAITING_COLOUR))


def outcome_of(state: TaskState | None) -> Text:
    """The typed results as ``int64 3``, one on each line; or the error's text."""
    if state is None:
        return Text()
    if state.Error:
        return Text(state.Error, style="red")
    return Text("\n".join(_results(state)))


def _results(state: TaskState) -> list[str]:
    return [f"{result.Type} {bytes(result.Value).decode()}" for result in state.Results or ()]


def progress_text(progress: Progress) -> str:
    """Write progress as ``3 of 10 (30%): packing``; if the task gave no total, as ``3: packing``."""
    fraction = progress.fraction
    total = "" if fraction is None else f" of {progress.total:g} ({fraction:.0%})"
    return f"{progress.done:g}{total}{': ' if progress.note else ''}{progress.note}"


def show_states(
    states: Sequence[TaskState],
    reports: Iterable[Progress | None] = (),
    *,
    wide: bool = False,
    seconds: float | None = None,
) -> bool:
    """Print UUID, task, state, progress, time of creation, and result or error; a single task as a block.

    Args:
        states: the states to print, in this order.
        reports: the progress reports of the tasks, in the same order.
        wide: show whole values.
        seconds: the time from sending the task to its end; None: not measured.

    Returns:
        True if the table cuts a value that ``wide`` would show.
    """
    now = time.time_ns()
    told = list(reports) or [None] * len(states)
    rows = [
        (state, None if progress is None or state.final else progress)
        for state, progress in zip(states, told, strict=True)
    ]
    table = Table(
        [
            Column("uuid", identifier=True),
            Column("task", least=8),
            Column("state"),
            Column("progress", least=8, shown=any(progress for _, progress in rows)),
            Column("created", drop=1),
            Column("took", shown=seconds is not None),
            Column("result", least=16),
        ],
        wide=wide,
    )
    for state, progress in rows:
        table.add(
            state.TaskUUID,
            state.TaskName,
            Cell(state.State, style=_COLOURS.get(state.State, _WAITING_COLOUR)),
            progress_text(progress) if progress else "",
            time_cell(ns_of(state.CreatedAt), now),
            "" if seconds is None else precise_span(seconds),
            Cell(state.Error, style="red") if state.Error else ", ".join(_results(state)),
        )
    return table.show(blocks=len(states) == 1)


def precise_span(seconds: float) -> str:
    """Write a measured duration as ``12 ms``, ``3.4 s`` or ``5 min``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else span(seconds)


def state_json(
    uuid: str,
    state: TaskState | None,
    progress: Progress | None = None,
    *,
    seconds: float | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    """Make the JSON object of one task for ``--json``; its ``state`` is null if the backend has none.

    Args:
        uuid: the task's id.
        state: the stored state; None: the backend has none.
        progress: the task's last progress report.
        seconds: the time from sending the task to its end; None: not measured.
        reason: the reason why the task is PENDING; None: it is not PENDING.
    """
    results = (
        None
        if state is None or state.Results is None
        else [{"type": each.Type, "value": msgspec.Raw(each.Value)} for each in state.Results]
    )
    told = None
    if progress is not None:
        told = msgspec.structs.asdict(progress) | {"at": exact(int(progress.at * 1e9))}
    return {
        "uuid": uuid,
        "task": state.TaskName if state else "",
        "state": state.State if state else None,
        "results": results,
        "error": state.Error if state else "",
        "created": exact_or_none(ns_of(state.CreatedAt)) if state else None,
        "progress": told,
        "seconds": seconds,
        "reason": reason,
    }
