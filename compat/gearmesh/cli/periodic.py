"""``gearmesh periodic``: what is sent again and again, and when next."""

from __future__ import annotations

import time
from datetime import datetime

import click
from rich.table import Table

from gearmesh.app.periodic import Periodic
from gearmesh.cli.common import app_argument, config_file, console
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
@config_file
def periodic(app: str, times: int, config: str | None) -> None:
    """List an app's periodic tasks with their next times.

    Times are those of the entry's zone. Those of @every are as if a scheduler were started now.
    """
    entries = load_app(app, config).periodics.entries.values()
    now = time.time_ns()
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "spec", "sends", "catch-up"):
        table.add_column(heading, overflow="fold")
    table.add_column("next", no_wrap=True)
    soonest = {entry.name: entry.next_times(times, now) for entry in entries}
    for entry in sorted(entries, key=lambda entry: (soonest[entry.name][:1] or [2**63], entry.name)):
        sends = f"{entry.what.Name} (signature)" if isinstance(entry.what, Signature) else repr(entry.what)
        shown = "\n".join(_moment(entry, moment) for moment in soonest[entry.name]) or "never"
        table.add_row(entry.name, entry.spec, sends, _catch_up(entry), shown)
    if entries:
        console().print(table)
    click.secho(f"{len(entries)} periodic tasks", err=True)


def _moment(entry: Periodic, moment: int) -> str:
    zone = entry.schedule.zone if isinstance(entry.schedule, Calendar) else local_zone()
    return datetime.fromtimestamp(moment // 10**9, zone).strftime("%a %Y-%m-%d %H:%M:%S %z")


def _catch_up(entry: Periodic) -> str:
    if entry.catch_up is None:
        return "-"
    return f"the last {entry.catch_up}"
