"""``gearmesh result``."""

from __future__ import annotations

import sys

import click

from gearmesh.app.progress import Progress
from gearmesh.cli.common import Place, as_json, as_wide, need_results, print_json, results_servers
from gearmesh.cli.show import show_states, state_json

__all__ = ["result"]


def shown_progress(progress: Progress) -> str:
    """``3 of 10 (30 %): packing``."""
    of_all = (
        f" of {progress.total:g} ({progress.fraction:.0%})" if progress.total and progress.fraction else ""
    )
    return f"{progress.done:g}{of_all}{': ' if progress.note else ''}{progress.note}"


@click.command()
@click.argument("uuids", nargs=-1, required=True, metavar="UUID...")
@as_wide
@as_json
@results_servers
def result(uuids: tuple[str, ...], wide: bool, json: bool, place: Place) -> None:
    """Show the state of tasks, and what they returned.

    Exit code 1: the backend does not know at least one UUID (any more).
    """
    with place.results_app() as app:
        need_results(app)
        states = app.states(list(uuids))
        reports = app.reports(list(uuids))
        if json:
            print_json(
                [
                    {"uuid": uuid, "state": state and state_json(state), "progress": progress}
                    for uuid, state, progress in zip(uuids, states, reports, strict=True)
                ]
            )
        else:
            show_states((state for state in states if state), wide=wide)
            for uuid, state, progress in zip(uuids, states, reports, strict=True):
                if progress is not None and not (state and state.final):
                    click.echo(f"{uuid} is at {shown_progress(progress)}")
        missing = [uuid for uuid, state in zip(uuids, states, strict=True) if state is None]
        for uuid in missing:
            click.secho(f"{uuid} not found: it was never sent, or it has expired", fg="yellow", err=True)
        sys.exit(bool(missing))
