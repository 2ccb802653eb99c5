"""``gearmesh config``: which settings are in use, and where they come from."""

from __future__ import annotations

from typing import Any

import click

from gearmesh.cli.common import Place, as_json, as_wide, print_json, servers
from gearmesh.cli.display import show_rows
from gearmesh.config.table import SETTINGS
from gearmesh.config.values import note_ignored

__all__ = ["config"]


@click.group()
def config() -> None:
    """The settings in use."""


@config.command()
@click.option("--all", "everything", is_flag=True, help="Defaults, too.")
@as_wide
@as_json
@servers
def show(everything: bool, wide: bool, json: bool, place: Place) -> None:
    """Show the settings in use and where each comes from. Passwords are masked.

    An option on the command line wins over the app, the app over the environment, the environment over the file.
    """
    with place.app() as app:
        used = app.config
    if used.source is not None:
        note_ignored(used.source.all_ignored())
    rows: list[dict[str, Any]] = []
    for path, setting in SETTINGS.items():
        origin = used.origin(path)
        if everything or json or origin != "default":
            value = used.value(path)
            hidden = setting.role or setting.secret
            rows.append(
                {
                    "setting": path,
                    "value": used.shown(path).strip("'") if hidden and value else value,
                    "origin": origin,
                    "live": setting.live,
                    "no_effect": setting.idle,
                }
            )
    if json:
        print_json(rows, str)
        return
    cells = []
    for row in rows:
        note = f"no effect: {row['no_effect']}" if row["no_effect"] else ""
        cells.append((row["setting"], "" if row["value"] is None else str(row["value"]), row["origin"], note))
    show_rows(("setting", "value", "from", ""), cells, wide=wide)
