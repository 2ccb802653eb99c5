"""``gearmesh config``: show the settings in use and the origin of each."""

from __future__ import annotations

from typing import Any, Final

import click

from gearmesh.cli.apps import words
from gearmesh.cli.common import Place, servers
from gearmesh.cli.options import as_table
from gearmesh.cli.output import note, print_json
from gearmesh.cli.tables import Column, Table
from gearmesh.config.checks import COMMAND_LINE
from gearmesh.config.table import SETTINGS
from gearmesh.config.values import note_ignored

__all__ = ["config"]

#: Settings that are shown even if they have their defaults, because operators compare them between programs.
ALWAYS_SHOWN: Final = ("broker", "backend", "default_queue")


@click.group()
def config() -> None:
    """Show the settings in use."""


@config.command()
@click.option("--all", "everything", is_flag=True, help="Show settings that have their defaults, too.")
@as_table
@words(None, most=0)
@servers
def show(everything: bool, wide: bool, json: bool, place: Place) -> None:
    """Show the settings in use and the origin of each. Passwords are masked.

    An option on the command line wins over the app, the app over the environment, the environment over the file.
    """
    with place.app() as app:
        used = app.config
    if place.queue:
        used = used.having({"default_queue": place.queue}, origin=COMMAND_LINE)
    if used.source is not None and not place.spec:  # an app of the user printed this note when it was loaded
        note_ignored(used.source.all_ignored())
    rows: list[dict[str, Any]] = []
    for path, setting in SETTINGS.items():
        origin, value = used.origin(path), used.value(path)
        if not (everything or json or origin != "default" or path in ALWAYS_SHOWN):
            continue
        if value and (setting.role or setting.secret):
            value = used.shown(path).strip("'")
        row = {"setting": path, "value": value, "origin": origin, "live": setting.live}
        rows.append({**row, "no_effect": setting.idle})
    if json:
        print_json(rows, str)
        return
    table = Table(
        [
            Column("setting"),
            Column("value", least=16),
            Column("from", least=8),
            Column("note", least=16, shown=any(row["no_effect"] for row in rows)),
        ],
        wide=wide,
    )
    for row in rows:
        value = "" if row["value"] is None else str(row["value"])
        effect = f"no effect: {row['no_effect']}" if row["no_effect"] else ""
        table.add(row["setting"], value, row["origin"], effect)
    if table.show():
        note("--wide shows whole values")
