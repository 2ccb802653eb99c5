"""``gearmesh revoke``."""

from __future__ import annotations

import click

from gearmesh.app.revocations import LASTS
from gearmesh.cli.common import Place, results_servers

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
@results_servers
def revoke(uuids: tuple[str, ...], lasts: float, place: Place) -> None:
    """Call off tasks: waiting ones are not run, running ones are told to end.

    All gearmesh workers on this backend obey; Go workers know nothing of it. A revoked task's state becomes FAILURE
    with the error "revoked" when a worker comes to it.
    """
    with place.results_app() as app:
        app.revoke(*uuids, lasts=lasts)
