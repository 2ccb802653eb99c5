"""Shows failed tasks by task and reason, lists the latest ones, and searches all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from gearmesh.interfaces.backend import Backend
from gearmesh.web.desk import Desk
from gearmesh.web.forms import Fields
from gearmesh.web.messages import cut, message_row
from gearmesh.web.pages.ages import AGE_TEXTS
from gearmesh.web.pages.failed_filter import FailedFilter
from gearmesh.web.pages.paging import PAGE_ROWS, paging
from gearmesh.web.state_walk import FailedTask, search_states
from gearmesh.web.times import Moment, moment_of_text
from gearmesh.wire.gotime import format_ns
from gearmesh.wire.state import FAILURE, TaskState

__all__ = ["failed"]

#: Number of pairs of a task and a reason on the page; those with most failures come first.
MAX_SHOWN_REASONS: Final = 50
#: States for which a user can search.
STATES: Final = ("FAILURE", "SUCCESS", "RETRY", "STARTED", "RECEIVED", "PENDING")


class TaskRow(NamedTuple):
    """One task in a list of tasks.

    Attributes:
        arguments: the arguments in one line; ``""`` if the message of a failed task is not stored.
        kept: True if the task's message is stored, so that the dashboard can send it again.
    """

    uuid: str
    name: str
    state: str
    created: Moment
    error: str
    arguments: str = ""
    kept: bool = False


def failed(desk: Desk, query: Fields) -> Mapping[str, Any]:
    """The page of failed tasks; if the query has conditions, it searches all states."""
    values: dict[str, Any] = {
        "keeps": desk.states.keeps,
        "walks": desk.states.walks,
        "states_name": desk.states.name,
        "walk": desk.walk,
        "states": STATES,
        "wanted": FailedFilter.of(query),
        "ages": AGE_TEXTS,
        "retried": query.number("retried", -1),
        "without": query.number("without"),
        "search": None,
        "summary": None,
        "reasons": [],
        "rows": [],
        "paging": None,
    }
    if not desk.states.walks:
        return values
    if any(query.text(name) for name in ("task", "reason", "text", "args", "state", "age")) or query.text(
        "cursor"
    ):
        return {**values, **_search(desk, query)}
    summary = desk.walk.look()
    start = query.number("start")
    latest = summary.latest_failed()
    part = latest[start : start + PAGE_ROWS]
    return {
        **values,
        "summary": summary,
        "reasons": _masked(desk, summary.reasons),
        "rows": _latest(desk, part),
        "paging": paging(query, len(part), len(latest)),
    }


def _masked(desk: Desk, reasons: Counter[tuple[str, str]]) -> list[tuple[str, str, int]]:
    """List tasks, masked reasons and counts, the most frequent first."""
    return [
        (task, desk.masker.text(reason), count)
        for (task, reason), count in reasons.most_common(MAX_SHOWN_REASONS)
    ]


def _latest(desk: Desk, part: Sequence[FailedTask]) -> list[TaskRow]:
    """Make rows of the latest failures from their states of now; if a state has gone, from the one the walk saw."""
    states = desk.states.listed([each.uuid for each in part])
    seen = [
        states.get(each.uuid)
        or TaskState(
            TaskUUID=each.uuid,
            TaskName=each.name,
            State=FAILURE,
            Error=each.error,
            CreatedAt=format_ns(each.created),
        )
        for each in part
    ]
    return _rows(desk, seen)


def _rows(desk: Desk, states: Sequence[TaskState]) -> list[TaskRow]:
    masker = desk.masker
    kept = desk.states.failures([state for state in states if state.State == FAILURE])
    rows = []
    for state in states:
        details = kept.get(state.TaskUUID)
        message = details.message if details else ""
        rows.append(
            TaskRow(
                state.TaskUUID,
                state.TaskName,
                state.State,
                moment_of_text(state.CreatedAt),
                cut(masker.text(state.Error)),
                message_row(message.encode(), masker).arguments if message else "",
                bool(message),
            )
        )
    return rows


def _search(desk: Desk, query: Fields) -> Mapping[str, Any]:
    """Carry out one part of a search through all states; the cursor continues it."""
    wanted, cursor, masker = FailedFilter.of(query), query.text("cursor"), desk.masker

    def narrow(states: list[TaskState]) -> list[TaskState]:
        if not wanted.args:
            return states
        kept = desk.states.failures(states)
        return [each for each in states if wanted.fits_message(kept.get(each.TaskUUID), masker)]

    def ask(backend: Backend) -> Any:
        return search_states(backend, lambda state: wanted.fits(state, masker), cursor, PAGE_ROWS, narrow)

    search = desk.states.ask(("search", wanted, cursor), ask)
    return {"search": search, "rows": _rows(desk, search.found)}
