"""``gearmesh doctor``: find problems of the servers in use, and advise a remedy for each."""

from __future__ import annotations

import sys
from typing import Final

import click

from gearmesh.cli.apps import words
from gearmesh.cli.checks import CHECKS, Case, Check, Finding
from gearmesh.cli.common import Place, servers
from gearmesh.cli.options import as_json
from gearmesh.cli.output import console, print_json, terminal_width
from gearmesh.cli.tables import block_lines
from gearmesh.units import counted
from gearmesh.urls import redact_text

__all__ = ["doctor"]

#: Characters before a finding, for its level.
INDENT_CHARS: Final = 8

_STYLES: Final = {"problem": "bold red", "note": "yellow", "ok": "green"}


@click.command()
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
    """Look for settings and states that lose, delay or repeat tasks, and advise a remedy. Changes nothing.

    QUEUEs are further queues that you use. With -A, it checks the app's tasks and schedules, too.

    Exit code 1: it has found a problem. A note may describe something that you want.
    """
    app = place.app()
    with app:
        case = Case(app, tuple(place.queues(queues)), management, place.spec or "")
        findings = [finding for check in CHECKS for finding in _findings(check, case)]
    problems = sum(finding.level == "problem" for finding in findings)
    if json:
        print_json(findings)
    else:
        for finding in findings:
            _print(finding)
        console().print(counted(problems, "problem"))
    if problems:
        sys.exit(1)


def _findings(check: Check, case: Case) -> list[Finding]:
    """Run one check and return its findings. A check that fails is a finding, too; the other checks still run."""
    found: list[Finding] = []
    try:
        found.extend(check(case))
    except Exception as exc:
        if click.get_current_context().find_root().params.get("debug"):
            raise
        name = check.__name__.replace("_", " ")
        reason = redact_text(str(exc).strip() or type(exc).__name__).splitlines()[0]
        found.append(
            Finding("problem", f"check '{name}'", f"failed: {reason}", "gearmesh --debug doctor shows more.")
        )
    return found


def _print(finding: Finding) -> None:
    """Print the level and the finding, and the advice below it; on a terminal, lines are broken at its width."""
    screen, width = console(), terminal_width()
    style = _STYLES[finding.level]
    for line in block_lines(
        finding.level.upper(), f"{finding.about}: {finding.text}", "", INDENT_CHARS, width
    ):
        line.stylize(style, 0, INDENT_CHARS)
        screen.print(line, soft_wrap=True)
    if finding.advice:
        for line in block_lines("", finding.advice, "", INDENT_CHARS, width):
            screen.print(line, soft_wrap=True)
