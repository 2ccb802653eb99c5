"""Lists the app's periodic entries with their last and next times, and sends one now."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any, NamedTuple

from gearmesh.app.periodic import Periodic
from gearmesh.errors import GearmeshError
from gearmesh.interfaces.lock import Lock
from gearmesh.locks.registry import open_lock
from gearmesh.urls import redact, redact_text
from gearmesh.web.desk import Desk
from gearmesh.web.forms import Fields
from gearmesh.web.messages import cut
from gearmesh.web.pages.action import Done, Refused
from gearmesh.web.times import Moment, moment
from gearmesh.wire.signature import Signature

__all__ = ["periodic", "run_now"]


class PeriodicRow(NamedTuple):
    """One entry on the page of periodic tasks. ``last``: the due time of the last run that a scheduler has sent."""

    name: str
    spec: str
    sends: str
    last: Moment
    next: list[Moment]


def periodic(desk: Desk, query: Fields) -> Mapping[str, Any]:
    """The page of the app's entries; those that are due first come first."""
    config = desk.app.config
    entries = list(desk.app.periodics.entries.values())
    fired: dict[str, int | None] = {}
    lock_error = ""
    if entries and config.lock is not None:
        try:
            fired = desk.answers.get("fired", lambda: _fired(desk, entries))
        except GearmeshError as exc:
            lock_error = str(exc)
    now = time.time_ns()
    planned = [(entry, entry.next_times(3, now)) for entry in entries]
    planned.sort(key=lambda each: (each[1][:1] or [2**63], each[0].name))
    sent = query.text("sent")
    return {
        "rows": [
            PeriodicRow(
                entry.name,
                entry.spec,
                cut(desk.masker.text(_sends(entry))),
                moment(fired.get(entry.name)),
                [moment(at) for at in times],
            )
            for entry, times in planned
        ],
        "lock": "" if config.lock is None else redact(config.lock),
        "with_go": bool(config.lock_executable),
        "lock_error": lock_error,
        "sent": sent if sent.startswith(("task_", "group_", "chord_")) else "",
    }


def _sends(entry: Periodic) -> str:
    return f"{entry.what.Name} (signature)" if isinstance(entry.what, Signature) else repr(entry.what)


def _fired(desk: Desk, entries: list[Periodic]) -> dict[str, int | None]:
    """Read the due time of the last run of each entry (unix ns) from their lock. Raises GearmeshError."""
    config = desk.app.config
    lock: Lock
    with closing(open_lock(config.lock, settings=config.redis)) as lock:
        try:
            executable = config.lock_executable or f"gearmesh:{config.default_queue}:"
            return {entry.name: lock.fired(entry.lock_key(executable)) for entry in entries}
        except lock.connection_errors as exc:
            raise GearmeshError(
                f"lock {redact(config.lock or '')} cannot be reached: {redact_text(str(exc))}"
            ) from exc


def run_now(desk: Desk, form: Fields) -> Done:
    """Send an entry once now, without a change of its plan. Raises Refused for an entry that the app does not have."""
    name = form.exact("name")
    entry = desk.app.periodics.entries.get(name)
    if entry is None:
        raise Refused(f"the app has no periodic entry {name!r}")
    result = desk.app.send(entry.what)
    uuid = str(getattr(result, "uuid", "") or getattr(result, "group_uuid", ""))
    return Done("/periodic", f"sent periodic entry name={name!r} uuid={uuid!r}", {"sent": uuid})
