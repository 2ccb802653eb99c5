"""``gearmesh result``."""

from __future__ import annotations

import sys

import click

from gearmesh.app.app import App
from gearmesh.cli.common import console, need_results
from gearmesh.cli.show import state_table
from gearmesh.errors import ConfigError
from gearmesh.worker.loader import load_app

__all__ = ["result"]


@click.command()
@click.argument("uuids", nargs=-1, required=True, metavar="UUID...")
@click.option(
    "--backend", metavar="URL", envvar="RESULT_BACKEND", help="Where results live. [RESULT_BACKEND]"
)
@click.option("-A", "--app", "spec", metavar="MODULE:APP", help="Take it from this app.")
def result(uuids: tuple[str, ...], spec: str | None, backend: str | None) -> None:
    """Show the state of tasks, and what they returned.

    Exit code 1 says that the backend knows none of at least one UUID (any more).
    """
    if not spec and not backend:
        raise ConfigError(
            "no backend: give --backend URL, -A MODULE:APP, or RESULT_BACKEND in the environment"
        )
    with load_app(spec) if spec else App(broker="eager", backend=backend or "") as app:
        need_results(app)
        states = app.states(list(uuids))
        if found := [state for state in states if state]:
            console().print(state_table(found))
        missing = [uuid for uuid, state in zip(uuids, states, strict=True) if state is None]
        for uuid in missing:
            click.secho(f"nothing is known of {uuid}: not sent, or expired", fg="yellow", err=True)
        sys.exit(bool(missing))
