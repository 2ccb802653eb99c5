"""Sends failed tasks again, chosen one by one or by a search, from the messages that their workers kept."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from gearmesh.interfaces.backend import Backend
from gearmesh.results.failures import FailureDetails
from gearmesh.web.desk import Desk
from gearmesh.web.forms import Fields
from gearmesh.web.pages.action import Done, Refused
from gearmesh.web.pages.ages import AGE_TEXTS
from gearmesh.web.pages.failed_filter import FailedFilter
from gearmesh.web.state_walk import search_states
from gearmesh.wire.codec import decode
from gearmesh.wire.state import FAILURE, TaskState

__all__ = ["confirm_failed", "retry_failed"]

#: Number of failed tasks that one action sends, and the seconds after which it stops searching for them.
MAX_RETRIED_TASKS: Final = 10_000
SEARCH_BUDGET_S: Final = 20.0
#: Number of failed tasks whose messages are read at a time.
BATCH_TASKS: Final = 500


class _Chosen(NamedTuple):
    """The failed tasks that a form chooses, with the details that their workers stored.

    Attributes:
        failed: the details by UUID, without the tasks whose message is not stored.
        without: the number of tasks whose message is not stored.
        whole: False if the search stopped at a bound, so that there may be more tasks.
    """

    failed: dict[str, FailureDetails]
    without: int
    whole: bool


def confirm_failed(desk: Desk, form: Fields) -> Mapping[str, Any]:
    """Ask the user, with the count, before failed tasks are sent again. Raises Refused if none are chosen."""
    wanted = _wanted(form)
    chosen = _choose(desk, form, wanted)
    return {
        "template": "confirm_failed",
        "wanted": wanted,
        "ids": form.all("id") if wanted is None else [],
        "count": len(chosen.failed),
        "without": chosen.without,
        "whole": chosen.whole,
        "age_texts": dict(AGE_TEXTS),
    }


def retry_failed(desk: Desk, form: Fields) -> Done:
    """Send failed tasks again, each under its UUID. Raises Refused if none are chosen, or none has a stored message."""
    wanted = _wanted(form)
    chosen = _choose(desk, form, wanted)
    if not chosen.failed:
        raise Refused("no worker has stored the message of these tasks, or they are not FAILURE any more")
    for details in chosen.failed.values():
        # Without the old ETA, so that it runs at once.
        desk.app.send(msgspec.structs.replace(decode(details.message.encode()), ETA=None))
    which = (
        f"ids={len(form.all('id'))}"
        if wanted is None
        else " ".join(f"{name}={value!r}" for name, value in wanted._asdict().items() if value)
    )
    return Done(
        "/failed",
        f"retried failed tasks count={len(chosen.failed)} chosen by {which}",
        {"retried": str(len(chosen.failed)), "without": str(chosen.without)},
    )


def _wanted(form: Fields) -> FailedFilter | None:
    """Read the filter of a form; None: the form names tasks by their UUIDs. Raises Refused."""
    if form.text("scope") != "filter":
        if not form.all("id"):
            raise Refused("no failed tasks are chosen: tick some, or choose all that fit the search")
        return None
    wanted = FailedFilter.of(form)
    if wanted.state != FAILURE:
        raise Refused(f"tasks in the state {wanted.state!r} cannot be retried, only failed ones")
    return wanted


def _choose(desk: Desk, form: Fields, wanted: FailedFilter | None) -> _Chosen:
    desk.states.clear()
    if wanted is None:
        states = list(desk.states.states(form.all("id")).values())
        return _with_messages(desk, [each for each in states if each.State == FAILURE], FailedFilter(), True)
    if not desk.states.walks:
        raise Refused(f"{desk.states.name} cannot list its states: choose tasks by their UUIDs")
    until = time.monotonic() + SEARCH_BUDGET_S
    found: dict[str, TaskState] = {}
    cursor = ""

    def look(backend: Backend) -> str:
        search = search_states(backend, lambda state: wanted.fits(state, desk.masker), cursor, BATCH_TASKS)
        found.update((state.TaskUUID, state) for state in search.found)
        return search.cursor

    while True:
        with desk.app.reached_backend() as backend:
            cursor = look(backend)
        whole = not cursor
        if whole or len(found) >= MAX_RETRIED_TASKS or time.monotonic() > until:
            return _with_messages(desk, list(found.values())[:MAX_RETRIED_TASKS], wanted, whole)


def _with_messages(desk: Desk, states: Sequence[TaskState], wanted: FailedFilter, whole: bool) -> _Chosen:
    failed: dict[str, FailureDetails] = {}
    without = 0
    for start in range(0, len(states), BATCH_TASKS):
        part = states[start : start + BATCH_TASKS]
        kept = desk.states.failures(part)
        for state in part:
            details = kept.get(state.TaskUUID)
            if not wanted.fits_message(details, desk.masker):
                continue
            if details is None or not details.message:
                without += 1
            else:
                failed[state.TaskUUID] = details
    return _Chosen(failed, without, whole)
