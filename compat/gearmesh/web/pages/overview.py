"""The overview: each queue with its depth, the age of its oldest message, and what else the broker tells."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from gearmesh.errors import BackendError
from gearmesh.inspection.messages import signature_of
from gearmesh.inspection.times import ns_of, span
from gearmesh.interfaces.transport import QueueCounts
from gearmesh.web.desk import Desk
from gearmesh.web.forms import Fields
from gearmesh.web.history import chart_of
from gearmesh.web.pages.paging import PAGE_ROWS, paging
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import TaskState

__all__ = ["QueueRow", "overview", "rows_of"]


class QueueRow(NamedTuple):
    """A queue on the overview; None where the broker does not tell.

    Attributes:
        counts: of its messages.
        latency: the time since the oldest waiting message was sent, or was due; ``""``: not known.
        latency_s: the same in seconds; 0.0 for an empty queue; None: not known.
        oldest: UUID of that message's task; ``""``: no message waits, or none can be looked at.
        share: the messages that wait, in percent of the fullest queue's.
    """

    counts: QueueCounts
    latency: str
    latency_s: float | None
    oldest: str
    share: int


def overview(desk: Desk, query: Fields) -> Mapping[str, Any]:
    """All queues, a page of them at a time, and the sums of the states."""
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
    delayed = (
        desk.broker.ask("delayed count", lambda channel: channel.delayed_count()) if abilities.pages else None
    )
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
        "totals": _totals(rows),
        "chart": chart_of(desk, part),
    }


def rows_of(desk: Desk, names: list[str], *, with_states: bool = True) -> list[QueueRow]:
    """The rows of some queues. Raises BackendError for a backend that cannot be reached, if ``with_states``."""
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
    """The seconds since the message could first have run: since it was sent, or since its ETA; None: not known."""
    sent = ns_of(state.CreatedAt) if state else None
    due = ns_of(sig.ETA) if sig.ETA else None
    since = max((at for at in (sent, due) if at is not None), default=None)
    return None if since is None else max(0, time.time_ns() - since) / 1e9


def _totals(rows: list[QueueRow]) -> dict[str, int | None]:
    totals: dict[str, int | None] = {}
    for name in ("pending", "held", "aside", "dead", "consumers", "silent"):
        known = [value for row in rows if (value := getattr(row.counts, name)) is not None]
        totals[name] = sum(known) if known or not rows else None
    return totals
