"""``gearmesh healthcheck``: probe a container's workers without asking a server."""

from __future__ import annotations

from typing import Any

import click

from gearmesh.cli.options import as_json
from gearmesh.cli.output import print_json
from gearmesh.health import HealthNote, health_notes

__all__ = ["healthcheck"]

#: Exit code if a worker or scheduler does not live, or is not ready, or if none runs here.
EXIT_UNHEALTHY = 1


@click.command()
@click.option(
    "--ready",
    is_flag=True,
    help="They must be ready, too: they reach their servers, and workers consume.",
)
@click.option(
    "--pid",
    type=click.IntRange(1),
    help="Only the scheduler with this process id, or the worker whose supervisor has it.",
)
@as_json
def healthcheck(ready: bool, pid: int | None, json: bool) -> None:
    """Probe the workers and schedulers that run on this machine, as this user.

    Exit code 0: at least one runs, and all live. Each writes a note every 5 s, and this command reads the notes without
    asking a server. While the broker is unreachable, workers live but are not ready.
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
