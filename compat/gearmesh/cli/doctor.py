"""``gearmesh doctor``: what is wrong with the servers in use, and what to do about it."""

from __future__ import annotations

import sys

import click
import msgspec

from gearmesh.cli.checks import CHECKS, Case, Finding
from gearmesh.cli.common import app_of, as_json, console, servers

__all__ = ["doctor"]

_STYLES = {"problem": "bold red", "note": "yellow", "ok": "green"}


@click.command()
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
@click.option(
    "--management",
    metavar="URL",
    default="",
    help="RabbitMQ's management API, http://user:password@host:15672.",
)
@as_json
@servers
def doctor(
    queues: tuple[str, ...],
    management: str,
    json: bool,
    spec: str | None,
    broker: str | None,
    backend: str | None,
    queue: str | None,
    config: str | None,
) -> None:
    """Look for what loses tasks, runs them twice or fills servers, and say what to do. Changes nothing.

    QUEUEs are custom queues in use. Exit code 1 says that there is a problem; notes may be as they are meant.
    """
    app = app_of(spec, broker, backend, config)
    with app:
        case = Case(app, (*queues, *((queue,) if queue else ())), management)
        findings = [finding for check in CHECKS for finding in check(case)]
    if json:
        click.echo(msgspec.json.format(msgspec.json.encode(findings), indent=2).decode())
    else:
        for finding in findings:
            _print(finding)
        problems = sum(finding.level == "problem" for finding in findings)
        console().print(f"{problems} problems" if problems != 1 else "1 problem")
    if any(finding.level == "problem" for finding in findings):
        sys.exit(1)


def _print(finding: Finding) -> None:
    out = console()
    out.print(finding.level.upper().ljust(8), style=_STYLES[finding.level], end="")
    out.print(f"{finding.about}: {finding.text}", soft_wrap=True)
    if finding.advice:
        out.print(f"        {finding.advice}", soft_wrap=True)
