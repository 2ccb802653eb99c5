"""``gearmesh shadow``: compare the Python version of a task with the workers that serve it today."""

from __future__ import annotations

import sys
from contextlib import suppress

import click

from gearmesh.cli.apps import words
from gearmesh.cli.common import Place, need_server, servers
from gearmesh.cli.options import as_json, count_option, seconds_option
from gearmesh.cli.output import console, note, print_json
from gearmesh.errors import ConfigError
from gearmesh.shadow.copies import SHADOW_QUEUE
from gearmesh.shadow.report import ShadowReport
from gearmesh.shadow.run import ShadowRun
from gearmesh.units import counted

__all__ = ["shadow"]


@click.command()
@click.option("--tasks", required=True, metavar="NAMES", help="Names of the tasks, separated by commas.")
@click.option("--shadow-queue", default=SHADOW_QUEUE, show_default=True, help="Queue of the copied calls.")
@count_option("--count", default=1000, help="End after about this number of calls.")
@seconds_option("--seconds", "End after this time, even with fewer calls.", least=0.1)
@click.option(
    "--threshold",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Share of calls that must agree.",
)
@count_option("--least", default=100, help="Number of calls that a verdict needs.")
@count_option("-c", "--concurrency", default=4, help="Number of calls that run at the same time.")
@as_json
@words(None, most=0)
@servers
def shadow(
    tasks: str,
    shadow_queue: str,
    count: int,
    seconds: float | None,
    threshold: float,
    least: int,
    concurrency: int,
    json: bool,
    place: Place,
) -> None:
    """Run the Python version of tasks on copies of real calls, and compare results, errors and times with the states
    that the present workers store. The producer makes the copies: gearmesh.shadow.copy_calls(app, ["resize"],
    sample=0.1).

    The run changes no state and no queue of the deployment, and sends no following task. Ctrl-C ends it with a report.

    Exit code 1: a task is not ready to be switched.
    """
    if not place.spec:
        raise ConfigError(
            "no app: give MODULE:APP, such as shop.tasks:app, with the Python versions of the tasks"
        )
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    report = ShadowReport(threshold, least)
    with place.app() as app:
        need_server(app, "shadow")
        with (
            ShadowRun(app, names, report, shadow_queue=shadow_queue, concurrency=concurrency) as run,
            suppress(KeyboardInterrupt),
        ):
            note(f"waiting for copies in {shadow_queue}; Ctrl-C ends the run with its report")
            run.wait(count, seconds)
    if json:
        print_json(report.to_builtins())
    else:
        _print(report, names)
    if not all(map(report.ready, names)):
        sys.exit(1)


def _print(report: ShadowReport, names: list[str]) -> None:
    screen = console()
    for name in names:
        found = report.tasks.get(name)
        if found is None:
            screen.print(f"{name}: no copied call came", style="yellow")
            continue
        verdict, style = ("ready to switch", "green") if report.ready(name) else ("not ready", "bold red")
        screen.print(f"{name}: {verdict}", style=style)
        screen.print(
            f"  {counted(found.compared, 'call')} compared: {found.agreed} agreed, {found.differed} differed, "
            f"{found.crashed} crashed; {found.slower} slower; {found.unanswered} unanswered"
        )
        for uuid, why in found.differences:
            screen.print(f"  {uuid}: {why}", soft_wrap=True, markup=False)
