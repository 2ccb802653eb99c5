"""Checks that a scheduler sends the app's periodic tasks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Final

from gearmesh.app.periodic import Periodic
from gearmesh.cli.checks.base import Case, Finding
from gearmesh.cron import Every, last_times
from gearmesh.errors import GearmeshError
from gearmesh.inspection.times import age, span
from gearmesh.interfaces.lock import Lock
from gearmesh.locks.registry import open_lock
from gearmesh.units import counted

__all__ = ["schedules"]

SECOND_NS: Final = 10**9
#: Seconds that a scheduler may be late.
LATE_S: Final = 15
#: The longest period, in seconds, of an entry that is late if it was never sent; one with a longer period may be new.
OFTEN_S: Final = 3600
#: Seconds of the past in which the check looks for the last due time.
LOOK_BACK_S: Final = 40 * 86_400

_ADVICE: Final = "Run one: gearmesh scheduler MODULE:APP, or gearmesh worker MODULE:APP --with-scheduler."


def schedules(case: Case) -> Iterator[Finding]:
    """Find periodic tasks that were due but that no scheduler has sent, by the times that their lock keeps."""
    entries = list(case.app.periodics.entries.values())
    if not entries:
        return
    about = "scheduler"
    many = counted(len(entries), "periodic task")
    config = case.config
    if config.lock is None:
        text = f"the app has {many} and no lock, so the doctor cannot see whether a scheduler runs"
        advice = "Set lock to a redis:// URL; without a lock, each of several schedulers sends every task. "
        yield Finding("note", about, text, advice + _ADVICE)
        return
    if config.lock_executable:
        text = f"the app has {many}, and shares its lock with Go, whose schedulers do not record the tasks they sent"
        yield Finding("note", about, text)
        return
    errors: tuple[type[BaseException], ...] = (GearmeshError, OSError)
    try:
        with closing(open_lock(config.lock, settings=config.redis)) as lock:
            errors += lock.connection_errors
            late = [found for entry in entries if (found := _late(entry, lock, config.default_queue))]
    except errors:  # lock_answers reports that the lock cannot be reached
        return
    if late:
        text = f"{len(late)} of {many} were not sent when they were due: {'; '.join(late[:5])}"
        yield Finding("problem", about, text, _ADVICE)
    else:
        yield Finding("ok", about, f"no periodic task of {len(entries)} is overdue")


def _late(entry: Periodic, lock: Lock, default_queue: str) -> str:
    """Describe a late entry: its schedule and the time when it was last sent; ``""`` if it does not seem late."""
    now = time.time_ns()
    until = now - LATE_S * SECOND_NS
    fired = lock.fired(entry.lock_key(f"gearmesh:{default_queue}:"))
    if isinstance(entry.schedule, Every):  # its times count from the start of a scheduler, which is not known
        first = entry.next_after(now)
        step = entry.next_after(first) - first
        due = now - step
        late = fired is None or fired < until - step
    else:
        times = last_times(entry.schedule, until - LOOK_BACK_S * SECOND_NS, until, 1)
        if not times:
            return ""
        due = times[-1]
        step = entry.next_after(due) - due
        late = fired is None or fired < due
    if not late or (fired is None and step > OFTEN_S * SECOND_NS):
        return ""
    last = "never" if fired is None else age(fired, now)
    every = (
        f", every {span(step / SECOND_NS)}" if isinstance(entry.schedule, Every) else f", due {age(due, now)}"
    )
    return f"{entry.name!r}{every}, last sent {last}"
