"""``gearmesh periodic``: what is sent again and again, and when next."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import click

from gearmesh.app.periodic import Periodic
from gearmesh.cli.common import app_argument, as_json, as_wide, config_file, print_json
from gearmesh.cli.display import counted, show_rows
from gearmesh.cron import Calendar, local_zone
from gearmesh.wire.signature import Signature
from gearmesh.worker.loader import load_app

__all__ = ["periodic"]


@click.command()
@app_argument
@click.option(
    "-n",
    "--times",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    help="How many of the next times.",
)
@as_wide
@as_json
@config_file
def periodic(app: str, times: int, wide: bool, json: bool, config: str | None) -> None:
    """List an app's periodic tasks with their next times, in each entry's time zone.

    The times of @every are counted from now, as if a scheduler started now.
    """
    entries = load_app(app, config).periodics.entries.values()
    now = time.time_ns()
    found: list[dict[str, Any]] = []
    rows = []
    soonest = {entry.name: entry.next_times(times, now) for entry in entries}
    for entry in sorted(entries, key=lambda entry: (soonest[entry.name][:1] or [2**63], entry.name)):
        sends = f"{entry.what.Name} (signature)" if isinstance(entry.what, Signature) else repr(entry.what)
        shown = "\n".join(_moment(entry, moment) for moment in soonest[entry.name]) or "never"
        rows.append((entry.name, entry.spec, sends, _catch_up(entry), shown))
        found.append(
            {
                "name": entry.name,
                "spec": entry.spec,
                "sends": sends,
                "next": [_moment(entry, moment, "%Y-%m-%dT%H:%M:%S%z") for moment in soonest[entry.name]],
            }
        )
    if json:
        print_json(found)
        return
    show_rows(("name", "spec", "sends", "catch-up", "next"), rows, wide=wide)
    click.secho(counted(len(entries), "periodic task"), err=True)


def _moment(entry: Periodic, moment: int, form: str = "%a %Y-%m-%d %H:%M:%S %z") -> str:
    zone = entry.schedule.zone if isinstance(entry.schedule, Calendar) else local_zone()
    return datetime.fromtimestamp(moment // 10**9, zone).strftime(form)


def _catch_up(entry: Periodic) -> str:
    if entry.catch_up is None:
        return "-"
    return f"the last {entry.catch_up}"
