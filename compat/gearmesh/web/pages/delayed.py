"""Lists delayed messages, the soonest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gearmesh.web.desk import Desk
from gearmesh.web.forms import Fields
from gearmesh.web.messages import MessageRow, message_row
from gearmesh.web.pages.paging import PAGE_ROWS, paging
from gearmesh.web.times import Moment, moment

__all__ = ["delayed"]


class DelayedRow(NamedTuple):
    """A delayed message in the list."""

    message: MessageRow
    queue: str
    due: Moment


def delayed(desk: Desk, query: Fields) -> Mapping[str, Any]:
    """The page of the delayed messages of all queues; it has no rows if the broker cannot list them."""
    abilities = desk.broker.abilities()
    if not abilities.pages:
        return {"abilities": abilities, "rows": [], "paging": None, "total": None}
    start = query.number("start")

    def ask(channel: Any) -> tuple[int, Any]:
        return channel.delayed_count(), channel.delayed_page(start, PAGE_ROWS)

    total, entries = desk.broker.ask(("delayed", start), ask)
    rows = []
    for entry in entries:
        row = message_row(entry.body, desk.masker)
        rows.append(DelayedRow(row, row.queue or desk.app.default_queue, moment(entry.eta_ns)))
    return {"abilities": abilities, "rows": rows, "paging": paging(query, len(rows), total), "total": total}
