"""``gearmesh healthcheck``: a probe for containers, which asks no server."""

from __future__ import annotations

from typing import Any

import click

from gearmesh.cli.options import as_json
from gearmesh.cli.output import print_json
from gearmesh.health import HealthNote, health_notes

__all__ = ["healthcheck"]

#: Exit code if a service is not well.
EXIT_UNHEALTHY = 1


@click.command()
@click.option(
    "--ready",
    is_flag=True,
    help="They must do their work, too: their servers are reached, and workers consume.",
)
@click.option(
    "--pid",
    type=click.IntRange(1),
    help="Only the scheduler that is this process, or the worker whose supervisor is.",
)
@as_json
def healthcheck(ready: bool, pid: int | None, json: bool) -> None:
    """Probe the workers and schedulers that run on this machine, as this user.

    Exit code 0: there is at least one, and all live. It reads what they note every 5 s, and asks no server: while the
    broker is unreachable they live, and are not ready.
    """
    notes = [note for note in health_notes() if pid is None or note.pid == pid]
    faults = [(note, fault) for note in notes if (fault := _fault(note, ready=ready))]
    if json:
        print_json([_as_json(note) for note in notes])
    elif not notes:
        click.echo("no worker and no scheduler runs here", err=True)
    for note, fault in [] if json else faults:
        click.echo(f"{note.role} {note.name} (process {note.pid}): {fault}", err=True)
    if faults or not notes:
        click.get_current_context().exit(EXIT_UNHEALTHY)
    if not json:
        click.echo("ok")


def _fault(note: HealthNote, *, ready: bool) -> str:
    if not note.lives:
        return f"has noted nothing for {note.age_s:.0f} s"
    return (note.reason or "not ready") if ready and not note.ready else ""


def _as_json(note: HealthNote) -> dict[str, Any]:
    return {
        "pid": note.pid,
        "role": note.role,
        "name": note.name,
        "lives": note.lives,
        "ready": note.ready,
        "reason": note.reason,
        "age": round(note.age_s, 3),
    }
