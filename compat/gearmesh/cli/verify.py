"""``gearmesh verify``: show on a live deployment that both languages understand each other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from gearmesh.cli.apps import words
from gearmesh.cli.common import Place, need_results, need_server, servers
from gearmesh.cli.options import seconds_option
from gearmesh.cli.output import console, note
from gearmesh.cli.tables import Cell, Column, Table
from gearmesh.verify.echo import PREFIX
from gearmesh.verify.report import Report
from gearmesh.verify.run import QUEUE
from gearmesh.verify.run import verify as run

__all__ = ["verify"]

_STYLES: Final = {"agrees": "green", "differs": "bold red", "not available": "yellow"}


@click.command()
@click.option(
    "--binding-key", metavar="KEY", default="", help="RabbitMQ: the queue's binding key; default: its name."
)
@click.option("--prefix", default=PREFIX, show_default=True, help="Beginning of the echo tasks' names.")
@seconds_option("--timeout", "Wait no longer than this for the next answer.", least=0.1, default=10.0)
@click.option("--junit", metavar="FILE", type=click.Path(dir_okay=False), help="Write JUnit XML, for CI.")
@click.option("--wide", is_flag=True, help="Show whole details, one line a row.")
@click.option("--json", is_flag=True, help="Print one JSON document, for scripts.")
@words(None, most=0)
@servers
def verify(
    binding_key: str, prefix: str, timeout: float, junit: str | None, wide: bool, json: bool, place: Place
) -> None:
    """Send the conformance set to the workers of a separate queue, and compare the results with the values sent.

    The workers must have registered the echo tasks: docs/howto/verify.md has the Go code to paste. The queue is
    gearmesh_verify unless --queue names another. The run deletes all that it has made.

    Exit code 1: a value differs, or no value could be compared.
    """
    with place.app() as app:
        need_server(app, "verification")
        need_results(app)
        report = run(
            app.config,
            queue=place.queue or QUEUE,
            binding_key=binding_key,
            prefix=prefix,
            timeout=timeout,
        )
    if junit:
        Path(junit).write_text(report.to_junit(), encoding="utf-8")
    if json:
        click.echo(report.to_json())
    else:
        _print(report, wide=wide)
    if not report.agrees:
        sys.exit(1)


def _print(report: Report, *, wide: bool) -> None:
    table = Table([Column("verdict"), Column("direction"), Column("subject"), Column("detail")], wide)
    for row in report.rows:
        detail = row.detail or f"{row.checked} checked"
        table.add(Cell(row.verdict, style=_STYLES[row.verdict]), row.direction, row.subject, detail)
    table.show()
    counts = ", ".join(
        f"{report.count(verdict)} {verdict}" for verdict in ("agrees", "differs", "not available")
    )
    console().print(f"{counts}, in {report.seconds:.1f} s")
    for each in report.left:
        note(f"left behind: {each}", "yellow")
