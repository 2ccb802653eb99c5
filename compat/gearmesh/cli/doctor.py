"""``gearmesh doctor``: what is wrong with the servers in use, and what to do about it."""

from __future__ import annotations

import sys

import click

from gearmesh.cli.checks import CHECKS, Case, Finding
from gearmesh.cli.common import Place, as_json, servers, words
from gearmesh.cli.output import console, print_json

__all__ = ["doctor"]

_STYLES = {"problem": "bold red", "note": "yellow", "ok": "green"}


@click.command(short_help="Find problems of the servers in use, with advice.")
@click.option(
    "--management",
    metavar="URL",
    default="",
    help="RabbitMQ's management API, http://user:password@host:15672.",
)
@as_json
@words("queues", "[QUEUE]...")
@servers
def doctor(queues: tuple[str, ...], management: str, json: bool, place: Place) -> None:
    """Look for what loses tasks, runs them twice or fills servers, and say what to do. Changes nothing.

    QUEUEs are custom queues in use. Exit code 1 says that there is a problem; notes may be as they are meant.
    """
    app = place.app()
    with app:
        case = Case(app, (*queues, *((place.queue,) if place.queue else ())), management)
        findings = [finding for check in CHECKS for finding in check(case)]
    if json:
        print_json(findings)
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
