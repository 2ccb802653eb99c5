"""Shows each queue with its depth, the age of its oldest message, and the other numbers that the broker gives."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from gearmesh.errors import BackendError
from gearmesh.inspection.messages import signature_of
from gearmesh.inspection.times import ns_of, span
from gearmesh.interfaces.transport import QueueCounts
from gearmesh.web.desk import Desk
from gearmesh.web.forms import Fields
from gearmesh.web.history import charts_of
from gearmesh.web.pages.paging import PAGE_ROWS, paging
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, PENDING, RECEIVED, RETRY, STARTED, SUCCESS, TaskState

__all__ = ["QueueRow", "TaskRow", "overview", "rows_of", "task_rows"]


#: States in the order of a task's life, the columns of the table of tasks.
STATES: Final = (PENDING, RECEIVED, STARTED, RETRY, SUCCESS, FAILURE)
#: Number of names in the table of tasks; those with most tasks come first.
MAX_SHOWN_TASKS: Final = 20


class TaskRow(NamedTuple):
    """The tasks of one name: their number in each of :data:`STATES`, and the share of failures.

    Attributes:
        failed_share: failures in percent of the tasks that have ended; None: no task has ended.
    """

    name: str
    counts: list[int]
    failed_share: float | None


class QueueRow(NamedTuple):
    """A queue on the overview.

    Attributes:
        counts: the counts of its messages; None for a number that the broker does not give.
        latency: the time since the oldest waiting message was sent, or was due; ``""``: not known.
        latency_s: the same time in seconds; 0.0 for an empty queue; None: not known.
        oldest: the UUID of that message's task; ``""``: no message waits, or the broker cannot show one.
        share: the number of waiting messages, in percent of the fullest queue's.
    """

    counts: QueueCounts
    latency: str
    latency_s: float | None
    oldest: str
    share: int


def overview(desk: Desk, query: Fields) -> Mapping[str, Any]:
    """The overview: a part of all queues, and the sums of the states."""
    names = desk.directory.names()
    start = query.number("start")
    part = names[start : start + PAGE_ROWS]
    abilities = desk.broker.abilities()
    backend_error = ""
    summary = None
    try:
        rows = rows_of(desk, part)
        summary = desk.walk.look() if desk.states.walks else None
    except BackendError as exc:
        backend_error = str(exc)
        rows = rows_of(desk, part, with_states=False)
    totals = _totals(rows)
    delayed = (
        desk.broker.ask("delayed count", lambda channel: channel.delayed_count())
        if abilities.pages
        else totals["delayed"]
    )
    charts = charts_of(desk, part)
    return {
        "rows": rows,
        "paging": paging(query, len(part), len(names)),
        "abilities": abilities,
        "complete": desk.directory.complete or not abilities.pages,
        "delayed": delayed,
        "summary": summary,
        "walk": desk.walk,
        "states_name": desk.states.name,
        "keeps": desk.states.keeps,
        "peeks": desk.states.peeks_cheaply,
        "backend_error": backend_error,
        "totals": totals,
        "chart": charts.together if charts else None,
        "charts": charts.by_queue if charts else {},
        "tasks": task_rows(summary.names) if summary else [],
        "all_states": STATES,
    }


def task_rows(names: Mapping[tuple[str, str], int]) -> list[TaskRow]:
    """Make a row for each name of a task; the names with most tasks come first."""
    by_name: dict[str, Counter[str]] = {}
    for (name, state), count in names.items():
        by_name.setdefault(name, Counter())[state] += count
    most = sorted(by_name.items(), key=lambda each: (-each[1].total(), each[0]))[:MAX_SHOWN_TASKS]
    rows = []
    for name, counts in most:
        ended = counts[SUCCESS] + counts[FAILURE]
        share = 100 * counts[FAILURE] / ended if ended else None
        rows.append(TaskRow(name, [counts[state] for state in STATES], share))
    return rows


def rows_of(desk: Desk, names: list[str], *, with_states: bool = True) -> list[QueueRow]:
    """Make the rows of queues. With ``with_states``, it raises BackendError if the backend cannot be reached."""
    pages = desk.broker.abilities().pages

    def ask(channel: Any) -> list[tuple[QueueCounts, Signature | None]]:
        found = []
        for name in names:
            count: QueueCounts = channel.count(name)
            head = channel.pending_page(name, 0, 1) if pages and count.pending else []
            found.append((count, signature_of(head[0]) if head else None))
        return found

    asked = desk.broker.ask(("counts", tuple(names)), ask) if desk.broker.abilities().counts else []
    heads = [sig.UUID for _, sig in asked if sig is not None]
    states = desk.states.listed(heads) if with_states else {}
    most = max((count.pending or 0 for count, _ in asked), default=0)
    rows = []
    for count, sig in asked:
        latency_s = 0.0 if count.pending == 0 else None
        if sig is not None:
            latency_s = _latency_s(sig, states.get(sig.UUID))
        rows.append(
            QueueRow(
                count,
                "" if sig is None or latency_s is None else span(latency_s),
                latency_s,
                sig.UUID if sig else "",
                100 * (count.pending or 0) // most if most else 0,
            )
        )
    return rows


def _latency_s(sig: Signature, state: TaskState | None) -> float | None:
    """The seconds for which the message could have run: since it was sent, or since its ETA; None: not known."""
    sent = ns_of(state.CreatedAt) if state else None
    due = ns_of(sig.ETA) if sig.ETA else None
    since = max((at for at in (sent, due) if at is not None), default=None)
    return None if since is None else max(0, time.time_ns() - since) / 1e9


def _totals(rows: list[QueueRow]) -> dict[str, int | None]:
    totals: dict[str, int | None] = {}
    for name in ("pending", "held", "parked", "dead", "delayed", "consumers", "silent"):
        known = [value for row in rows if (value := getattr(row.counts, name)) is not None]
        totals[name] = sum(known) if known or not rows else None
    return totals
