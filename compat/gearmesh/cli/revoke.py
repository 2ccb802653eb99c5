"""``gearmesh revoke``: revoke tasks."""

from __future__ import annotations

import click

from gearmesh.app.revocations import DEFAULT_REVOCATION_TTL_S
from gearmesh.cli.apps import words
from gearmesh.cli.common import Place, results_servers
from gearmesh.cli.ids import full_ids
from gearmesh.cli.options import as_json
from gearmesh.cli.output import note, print_json
from gearmesh.units import counted

__all__ = ["revoke"]


@click.command()
@click.option(
    "--lasts",
    type=click.FloatRange(min=0, min_open=True),
    default=DEFAULT_REVOCATION_TTL_S,
    metavar="SECONDS",
    help="Time for which workers remember the revocation; default: a week.",
)
@as_json
@words("uuids", "UUID...", least=1)
@results_servers
def revoke(uuids: tuple[str, ...], lasts: float, json: bool, place: Place) -> None:
    """Revoke tasks: workers do not run them, and interrupt those that run.

    All gearmesh workers with this backend obey; Go workers ignore revocations. The state of a revoked task becomes
    FAILURE with the error "revoked" when a worker gets its message. The first characters of a UUID are enough. The
    revocation of an unknown UUID is recorded, too: its task may be sent later.
    """
    with place.results_app() as app:
        ids = full_ids(app, uuids)
        app.revoke(*ids, lasts=lasts)
        unknown = [uuid for uuid, state in zip(ids, app.states(ids), strict=True) if state is None]
    if json:
        print_json([{"uuid": uuid, "revoked": True, "known": uuid not in unknown} for uuid in ids])
        return
    if len(unknown) < len(ids):
        note(f"revoked {counted(len(ids) - len(unknown), 'task')}")
    for uuid in unknown:
        note(
            f"no task {uuid} is known: it was never sent, or it has expired. The revocation is recorded all the same",
            "yellow",
        )
