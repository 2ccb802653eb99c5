"""Failed tasks: by task and reason, the latest ones, and a search through all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from gearmesh.inspection.times import ns_of
from gearmesh.interfaces.backend import Backend
from gearmesh.web.desk import Desk
from gearmesh.web.forms import Fields
from gearmesh.web.messages import cut
from gearmesh.web.pages.ages import AGE_TEXTS, fits_age
from gearmesh.web.pages.paging import PAGE_ROWS, paging
from gearmesh.web.state_walk import reason_of, search_states
from gearmesh.web.times import Moment, moment, moment_of_text
from gearmesh.wire.state import TaskState

__all__ = ["failed"]

#: Pairs of a task and a reason that are shown, those with most failures.
MAX_SHOWN_REASONS: Final = 50
#: States that a search may look for.
STATES: Final = ("FAILURE", "SUCCESS", "RETRY", "STARTED", "RECEIVED", "PENDING")


class TaskRow(NamedTuple):
    """Holds what a list of tasks shows of one task."""

    uuid: str
    name: str
    state: str
    created: Moment
    error: str


def failed(desk: Desk, query: Fields) -> Mapping[str, Any]:
    """The failed tasks; with conditions, a search through all states."""
    values: dict[str, Any] = {
        "keeps": desk.states.keeps,
        "walks": desk.states.walks,
        "states_name": desk.states.name,
        "walk": desk.walk,
        "states": STATES,
        "task": query.text("task"),
        "reason": query.text("reason"),
        "text": query.text("text"),
        "age": query.text("age"),
        "ages": AGE_TEXTS,
        "chosen": query.text("state") or "FAILURE",
        "search": None,
        "summary": None,
        "reasons": [],
        "rows": [],
        "paging": None,
    }
    if not desk.states.walks:
        return values
    if any(query.text(name) for name in ("task", "reason", "text", "state", "age")) or query.text("cursor"):
        return {**values, **_search(desk, query)}
    summary = desk.walk.look()
    start = query.number("start")
    latest = summary.latest_failed()
    part = latest[start : start + PAGE_ROWS]
    return {
        **values,
        "summary": summary,
        "reasons": _masked(desk, summary.reasons),
        "rows": [
            TaskRow(
                each.uuid,
                each.name,
                "FAILURE",
                moment(each.created or None),
                cut(desk.masker.text(each.error)),
            )
            for each in part
        ],
        "paging": paging(query, len(part), len(latest)),
    }


def _masked(desk: Desk, reasons: Counter[tuple[str, str]]) -> list[tuple[str, str, int]]:
    """Tasks, masked reasons and counts, the most frequent first."""
    return [
        (task, desk.masker.text(reason), count)
        for (task, reason), count in reasons.most_common(MAX_SHOWN_REASONS)
    ]


def _search(desk: Desk, query: Fields) -> Mapping[str, Any]:
    """One part of a search through all states; its cursor goes on with it."""
    task, reason, text = query.text("task"), query.text("reason"), query.text("text").lower()
    wanted, age = query.text("state") or "FAILURE", query.text("age")
    masker = desk.masker

    def fits(state: TaskState) -> bool:
        return (
            state.State == wanted
            and fits_age(age, ns_of(state.CreatedAt))
            and (not task or task.lower() in state.TaskName.lower())
            and (not reason or masker.text(reason_of(state.Error)) == reason)
            and (not text or text in masker.text(state.Error).lower() or text == state.TaskUUID)
        )

    cursor = query.text("cursor")

    def ask(backend: Backend) -> Any:
        return search_states(backend, fits, cursor, PAGE_ROWS)

    search = desk.states.ask(("search", task, reason, text, wanted, age, cursor), ask)
    return {
        "search": search,
        "rows": [
            TaskRow(
                each.TaskUUID,
                each.TaskName,
                each.State,
                moment_of_text(each.CreatedAt),
                cut(masker.text(each.Error)),
            )
            for each in search.found
        ],
    }
