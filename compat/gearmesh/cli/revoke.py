"""``gearmesh revoke``."""

from __future__ import annotations

import click

from gearmesh.app.app import App
from gearmesh.app.revocations import LASTS
from gearmesh.errors import ConfigError
from gearmesh.worker.loader import load_app

__all__ = ["revoke"]


@click.command()
@click.argument("uuids", nargs=-1, required=True, metavar="UUID...")
@click.option(
    "--lasts",
    type=click.FloatRange(min=0, min_open=True),
    default=LASTS,
    metavar="SECONDS",
    help="How long to remember it; default: a week.",
)
@click.option(
    "--backend", metavar="URL", envvar="RESULT_BACKEND", help="Where results live. [RESULT_BACKEND]"
)
@click.option("-A", "--app", "spec", metavar="MODULE:APP", help="Take it from this app.")
def revoke(uuids: tuple[str, ...], lasts: float, spec: str | None, backend: str | None) -> None:
    """Call off tasks: waiting ones are not run, running ones are told to end.

    All gearmesh workers on this backend obey; Go workers know nothing of it. A revoked task's state becomes FAILURE
    with the error "revoked" when a worker comes to it.
    """
    if not spec and not backend:
        raise ConfigError(
            "no backend: give --backend URL, -A MODULE:APP, or RESULT_BACKEND in the environment"
        )
    app = load_app(spec) if spec else App(broker="eager", backend=backend or "")
    with app:
        app.revoke(*uuids, lasts=lasts)
