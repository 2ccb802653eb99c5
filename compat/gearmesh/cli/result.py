"""``gearmesh result``."""

from __future__ import annotations

import sys

import click

from gearmesh.cli.common import Place, console, need_results, results_servers
from gearmesh.cli.show import state_table

__all__ = ["result"]


@click.command()
@click.argument("uuids", nargs=-1, required=True, metavar="UUID...")
@results_servers
def result(uuids: tuple[str, ...], place: Place) -> None:
    """Show the state of tasks, and what they returned.

    Exit code 1 says that the backend knows none of at least one UUID (any more).
    """
    with place.results_app() as app:
        need_results(app)
        states = app.states(list(uuids))
        if found := [state for state in states if state]:
            console().print(state_table(found))
        missing = [uuid for uuid, state in zip(uuids, states, strict=True) if state is None]
        for uuid in missing:
            click.secho(f"nothing is known of {uuid}: not sent, or expired", fg="yellow", err=True)
        sys.exit(bool(missing))
