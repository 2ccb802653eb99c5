"""Lists the workers that reply, and the consumers that the broker knows with the messages that they hold."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from gearmesh.control.messages import VERBS
from gearmesh.errors import ConfigError, GearmeshError
from gearmesh.inspection.times import span
from gearmesh.interfaces.transport import OVERDUE_LEASE_SHARE, ConsumerReport
from gearmesh.units import counted
from gearmesh.web.desk import Desk
from gearmesh.web.forms import Fields
from gearmesh.web.live_workers import LiveWorker
from gearmesh.web.messages import MessageRow, message_row
from gearmesh.web.pages.action import Done, Refused
from gearmesh.web.pages.overview import rows_of

__all__ = ["tell", "workers"]

#: Number of queues whose consumers are listed.
MAX_QUEUES: Final = 60
#: Number of messages of one worker on the page.
MAX_SHOWN_MESSAGES: Final = 20


class HeldMessage(NamedTuple):
    """A message that a worker holds, and the state of its task."""

    message: MessageRow
    state: str


class WorkerRow(NamedTuple):
    """A consumer of one or more queues.

    Attributes:
        name: its name on the broker; ``HOST:PID:…`` unless the user chose another beginning.
        queues: the queues that it consumes.
        silence: the time since its last heartbeat, in words.
        alive: False if it has missed heartbeats.
        held: the number of messages that it holds.
        messages: the first of these messages.
    """

    name: str
    queues: list[str]
    silence: str
    alive: bool
    held: int
    messages: list[HeldMessage]


def workers(desk: Desk, query: Fields) -> Mapping[str, Any]:
    """The page of the workers of all queues."""
    abilities = desk.broker.abilities()
    names = desk.directory.first(MAX_QUEUES)
    rows: list[WorkerRow] = []
    if abilities.consumers:
        found = desk.broker.ask(
            ("consumers", tuple(names)), lambda channel: [(name, channel.consumers(name)) for name in names]
        )
        rows = _rows(desk, found)
    counts = [row.counts for row in rows_of(desk, names, with_states=False)]
    live: list[LiveWorker] = []
    live_error = ""
    try:
        live = desk.live_workers.all(time.time())
    except GearmeshError as exc:
        live_error = str(exc)
    return {
        "live_workers": live,
        "live_error": live_error,
        "live_asks": desk.live_workers.asks,
        "told": _told(query),
        "abilities": abilities,
        "rows": rows,
        "counts": [count for count in counts if count.consumers or count.silent],
        "cut": len(desk.directory.names()) > MAX_QUEUES,
        "most": MAX_QUEUES,
        "lease": desk.app.config.lease,
    }


def _told(query: Fields) -> str:
    verb, count = query.text("told"), query.number("replies")
    if verb not in VERBS:
        return ""
    return f"{verb}: {counted(count, 'worker')} replied."


def tell(desk: Desk, form: Fields) -> Done | Mapping[str, Any]:
    """Send an order to one worker or to all; ask the user before a worker stops.

    Raises:
        Refused: the form has no such order, or the order is wrong.
        GearmeshError: the broker is unreachable, or a worker refuses.
    """
    verb, to = form.text("verb"), form.exact("to")
    args: dict[str, str | int] = {}
    if verb in ("pause", "resume"):
        args = {"kind": form.text("kind"), "name": form.text("name")}
    elif verb in ("grow", "shrink", "shutdown") and to:
        args = {} if verb == "shutdown" else {"count": 1}
    else:
        raise Refused(f"the dashboard has no such order for a worker: {verb!r:.40}")
    if verb == "shutdown" and form.text("sure") != "yes":
        return {"template": "confirm_stop", "to": to}
    try:
        replies = desk.live_workers.tell(verb, args, [to] if to else [])
    except ConfigError as exc:
        raise Refused(str(exc)) from None
    words = " ".join(f"{name}={value!r}" for name, value in args.items())
    audit = f"told workers verb={verb!r} {words} to={to or 'all'!r} replies={len(replies)}"
    return Done("/workers", audit, {"told": verb, "replies": str(len(replies))})


def _rows(desk: Desk, found: list[tuple[str, list[ConsumerReport]]]) -> list[WorkerRow]:
    """Make one row for each consumer from its reports, one of which comes from each of its queues."""
    reports: dict[str, list[tuple[str, ConsumerReport]]] = {}
    for queue, consumers in found:
        for report in consumers:
            reports.setdefault(report.name, []).append((queue, report))
    shown = {
        name: [message_row(body, desk.masker) for _, report in own for body in report.bodies][
            :MAX_SHOWN_MESSAGES
        ]
        for name, own in reports.items()
    }
    states = desk.states.listed([row.uuid for rows in shown.values() for row in rows])
    rows = []
    for name, own in sorted(reports.items()):
        silences = [report.silent_s for _, report in own if report.silent_s is not None]
        silent_s = min(silences, default=None)
        held = [
            HeldMessage(row, state.State if (state := states.get(row.uuid)) else "") for row in shown[name]
        ]
        rows.append(
            WorkerRow(
                name,
                [queue for queue, _ in own],
                _silence(silent_s),
                silent_s is None or silent_s <= desk.app.config.lease * OVERDUE_LEASE_SHARE,
                sum(len(report.bodies) for _, report in own),
                held,
            )
        )
    return rows


def _silence(seconds: float | None) -> str:
    if seconds is None:
        return "no heartbeat yet"
    return "known to be dead" if seconds == float("inf") else f"{span(seconds)} ago"
