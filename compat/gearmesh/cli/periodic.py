"""``gearmesh periodic``: list the entries that schedulers send, with their next times."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import click

from gearmesh.app.periodic import CatchUp, Periodic
from gearmesh.cli.apps import app_argument
from gearmesh.cli.options import as_table, config_file, count_option
from gearmesh.cli.output import print_json
from gearmesh.cli.tables import Cell, Column, Table, note_count
from gearmesh.cron import Calendar, local_zone
from gearmesh.inspection.times import age, exact
from gearmesh.wire.signature import Signature
from gearmesh.worker.loader import load_app

__all__ = ["periodic"]


@click.command()
@app_argument
@count_option("-n", "--times", most=1000, default=3, help="Number of next times to show.")
@as_table
@config_file
def periodic(app: str, times: int, wide: bool, json: bool, config: str | None) -> None:
    """List an app's periodic tasks with their next times, in each entry's time zone.

    The times of @every count from now, as if a scheduler started now.
    """
    now = time.time_ns()
    found = [
        (entry, entry.next_times(times, now))
        for entry in load_app(app, config, needs_broker=False).periodics.entries.values()
    ]
    found.sort(key=lambda each: (each[1][:1] or [2**63], each[0].name))
    if json:
        print_json(
            [
                {
                    "name": entry.name,
                    "spec": entry.spec,
                    "sends": _sends(entry),
                    "catch_up": _catch_up_json(entry.catch_up),
                    "next": [exact(moment) for moment in moments],
                }
                for entry, moments in found
            ]
        )
        return
    table = Table(
        [
            Column("name", least=12),
            Column("spec"),
            Column("catch-up", drop=1),
            Column("sends", least=12, drop=2),
            Column("next", lines=True),
        ],
        wide=wide,
    )
    for entry, moments in found:
        whole = ", ".join(_local(entry, moment) for moment in moments) or "never"
        people = "\n".join(f"{_local(entry, moment)}  {age(moment, now)}" for moment in moments) or "never"
        table.add(entry.name, entry.spec, _catch_up(entry.catch_up), _sends(entry), Cell(people, whole))
    note_count(len(found), "periodic task", cut=table.show())


def _sends(entry: Periodic) -> str:
    return f"{entry.what.Name} (signature)" if isinstance(entry.what, Signature) else repr(entry.what)


def _local(entry: Periodic, moment: int) -> str:
    zone = entry.schedule.zone if isinstance(entry.schedule, Calendar) else local_zone()
    return datetime.fromtimestamp(moment // 10**9, zone).strftime("%a %Y-%m-%d %H:%M:%S %z")


def _catch_up(value: CatchUp) -> str:
    return "" if value is None else f"the last {value}"


def _catch_up_json(value: CatchUp) -> dict[str, float] | None:
    if value is None:
        return None
    return {"seconds": value.total_seconds()} if isinstance(value, timedelta) else {"runs": value}
