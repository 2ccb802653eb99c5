"""Shows a queue: its counts, and its messages, page by page or by a search."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from gearmesh.errors import GearmeshError
from gearmesh.inspection.message_search import messages_from
from gearmesh.inspection.times import ns_of
from gearmesh.web.desk import Desk
from gearmesh.web.forms import Fields
from gearmesh.web.history import chart_of
from gearmesh.web.messages import MAX_ARGUMENT_CHARS, MessageRow, cut, message_row
from gearmesh.web.pages.action import Refused
from gearmesh.web.pages.ages import AGE_TEXTS, fits_age
from gearmesh.web.pages.overview import rows_of
from gearmesh.web.pages.paging import PAGE_ROWS, paging
from gearmesh.web.times import Moment, moment_of_text
from gearmesh.wire.state import TaskState

__all__ = ["look", "queue"]

#: Number of messages that one view of a search reads, at most, and at least, even if the machine is slow.
MAX_SEARCHED_MESSAGES: Final = 10_000
MIN_SEARCHED_MESSAGES: Final = 200
#: Seconds after which one view of a search stops reading.
SEARCH_BUDGET_S: Final = 0.15
#: Number of messages that RabbitMQ delivers and takes back for one look.
MAX_PEEKED_MESSAGES: Final = 50
#: Number of messages whose states are read at a time.
STATES_BATCH: Final = 200


class WaitingMessage(NamedTuple):
    """A waiting message with its position in the queue and the state of its task."""

    position: int
    message: MessageRow
    state: str
    sent: Moment


class _Wanted(NamedTuple):
    """The conditions of a search; an empty one fits all messages."""

    name: str
    text: str
    state: str
    age: str

    @property
    def needs_states(self) -> bool:
        return bool(self.state or self.age)

    def fits(self, row: MessageRow) -> bool:
        return (not self.name or self.name.lower() in row.task.lower()) and (
            not self.text or self.text.lower() in row.arguments.lower() or self.text == row.uuid
        )

    def fits_state(self, state: TaskState | None) -> bool:
        if self.state and (state is None or state.State != self.state):
            return False
        return fits_age(self.age, ns_of(state.CreatedAt) if state else None)


def queue(desk: Desk, query: Fields) -> Mapping[str, Any]:
    """The page of one queue with its messages."""
    name = query.exact("name") or desk.app.default_queue
    wanted = _Wanted(query.text("task"), query.text("text"), query.text("state"), query.text("age"))
    abilities = desk.broker.abilities()
    (row,) = rows_of(desk, [name]) if abilities.counts else (None,)
    start = query.number("start")
    values: dict[str, Any] = {
        "name": name,
        "row": row,
        "abilities": abilities,
        "wanted": wanted,
        "ages": AGE_TEXTS,
        "chart": chart_of(desk, [name]),
    }
    if not abilities.pages:
        return {**values, "rows": [], "paging": None, "searched": None}
    if any(wanted):
        found, after, looked_at = _search(desk, name, wanted, start)
        total = row.counts.pending if row else None
        return {
            **values,
            "rows": found,
            "paging": None,
            "searched": {"start": start, "looked_at": looked_at, "after": after, "total": total},
        }
    bodies = desk.broker.ask(
        ("page", name, start), lambda channel: channel.pending_page(name, start, PAGE_ROWS)
    )
    rows = [(start + at, message_row(body, desk.masker)) for at, body in enumerate(bodies)]
    return {
        **values,
        "rows": _with_states(desk, rows),
        "paging": paging(query, len(rows), row.counts.pending if row else None),
        "searched": None,
    }


def _search(
    desk: Desk, name: str, wanted: _Wanted, start: int
) -> tuple[list[WaitingMessage], int | None, int]:
    """Search messages; returns those that fit, the next position (None: the queue's end), and the number read."""

    def ask(channel: Any) -> tuple[list[WaitingMessage], int | None, int]:
        until = time.monotonic() + SEARCH_BUDGET_S
        found: list[WaitingMessage] = []
        batch: list[tuple[int, MessageRow]] = []
        position, ended = start - 1, True
        read = partial(channel.pending_page, name)
        for position, body in messages_from(read, start, MAX_SEARCHED_MESSAGES):
            # The search compares the whole arguments, but a row shows only their beginning.
            row = message_row(body, desk.masker, MAX_ARGUMENT_CHARS)
            if wanted.fits(row):
                batch.append((position, row._replace(arguments=cut(row.arguments))))
            if len(batch) >= (STATES_BATCH if wanted.needs_states else PAGE_ROWS):
                found += _fitting(desk, batch, wanted)
                batch = []
            enough = position + 1 - start >= MIN_SEARCHED_MESSAGES and time.monotonic() > until
            if len(found) >= PAGE_ROWS or enough:
                ended = False
                break
        found += _fitting(desk, batch, wanted)
        looked_at = position + 1 - start
        ended = ended and looked_at < MAX_SEARCHED_MESSAGES
        return found, None if ended else position + 1, looked_at

    return desk.broker.ask(("search", name, wanted, start), ask)


def _fitting(desk: Desk, rows: list[tuple[int, MessageRow]], wanted: _Wanted) -> list[WaitingMessage]:
    """Keep the messages whose states fit."""
    if not wanted.needs_states:
        return _with_states(desk, rows)
    states = desk.states.listed([row.uuid for _, row in rows])
    return _with_states(desk, [each for each in rows if wanted.fits_state(states.get(each[1].uuid))])


def _with_states(desk: Desk, rows: list[tuple[int, MessageRow]]) -> list[WaitingMessage]:
    states = desk.states.listed([row.uuid for _, row in rows])
    return [
        WaitingMessage(
            position, row, state.State if state else "", moment_of_text(state.CreatedAt if state else "")
        )
        for position, row in rows
        for state in (states.get(row.uuid),)
    ]


def look(desk: Desk, form: Fields) -> Mapping[str, Any]:
    """Let a broker deliver the first messages of a queue and take them back, since it cannot show them otherwise.

    Raises:
        Refused: the broker does not show waiting messages, or would return them in another order.
    """
    name = form.exact("name")
    if not desk.broker.abilities().shows_pending:
        raise Refused("this broker does not show waiting messages")

    def peek(channel: Any) -> list[bytes]:
        bodies: list[bytes] = channel.pending(name, MAX_PEEKED_MESSAGES)
        return bodies

    peeked: Callable[[Any], list[bytes]] = peek
    bodies = desk.broker.change(peeked)
    rows = [(at, message_row(body, desk.masker)) for at, body in enumerate(bodies)]
    try:
        shown = _with_states(desk, rows)
    except GearmeshError:  # the backend is unreachable: show the messages without their states
        shown = [WaitingMessage(at, row, "", moment_of_text("")) for at, row in rows]
    return {"template": "peeked", "name": name, "rows": shown}
