"""``gearmesh workers``: show running workers and their tasks, and tell them to pause, grow, shrink or stop."""

from __future__ import annotations

import time
from typing import Any

import click

from gearmesh.app.app import App
from gearmesh.cli.apps import words
from gearmesh.cli.common import Place, servers
from gearmesh.cli.options import as_json, as_table, decorators
from gearmesh.cli.output import note, print_json
from gearmesh.cli.tables import Cell, Column, Table
from gearmesh.control.client import REPLY_TIMEOUT_S, ControlClient
from gearmesh.control.messages import MAX_SLOT_CHANGE, Reply
from gearmesh.errors import GearmeshError
from gearmesh.inspection.times import span
from gearmesh.units import counted, short_id

__all__ = ["workers"]

#: Exit code if no worker replied.
EXIT_NO_WORKER = 1

_timeout = click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0.05, 60),
    default=REPLY_TIMEOUT_S,
    show_default=True,
    help="Time to wait for replies.",
)
_to = click.option("--to", metavar="WORKER", multiple=True, help="Only this worker; may be repeated.")
_order_options = decorators(_to, _timeout, as_json)
#: MODULE:APP and the options that name servers, for an order without arguments.
_place = decorators(words(None, most=0), servers)


@click.group(invoke_without_command=True)
@click.option("--tasks", is_flag=True, help="Show the tasks that run, too.")
@_to
@_timeout
@as_table
@servers
@click.pass_context
def workers(
    ctx: click.Context,
    place: Place,
    tasks: bool,
    to: tuple[str, ...],
    timeout: float,
    wide: bool,
    json: bool,
) -> None:
    """List the Python workers that run, with their tasks; or control them by a subcommand.

    Workers on Redis and RabbitMQ listen, unless the setting remote_control is off. Go's workers do not listen.
    """
    ctx.obj = place
    if ctx.invoked_subcommand is not None:
        return
    app = place.app()
    replies = ControlClient(app).ask("status", to=to, timeout=timeout)
    if json:
        print_json([{"worker": reply.worker, **reply.data} for reply in replies])
    elif replies:
        _show(replies, wide, tasks=tasks)
    _end(app, replies)


def _show(replies: list[Reply], wide: bool, *, tasks: bool) -> None:
    table = Table(
        [
            Column("worker", least=12),
            Column("version", drop=2),
            Column("pool", drop=1),
            Column("running", right=True),
            Column("slots", right=True),
            Column("held", right=True, drop=3),
            Column("memory", right=True, drop=4),
            Column("queues", least=10),
            Column("paused", drop=5),
        ],
        wide=wide,
    )
    for reply in replies:
        data = reply.data
        table.add(
            reply.worker,
            str(data["version"]),
            str(data["pool"]),
            str(data["running"]),
            str(data["slots"]),
            str(data["held"]),
            Cell(f"{data['memory'] / 2**20:.0f} MiB", str(data["memory"])),
            ", ".join(data["queues"]),
            Cell(", ".join(data["paused"]), style="yellow"),
        )
    table.show()
    if not tasks:
        return
    running = Table(
        [
            Column("task", least=8),
            Column("uuid", identifier=True),
            Column("for", right=True),
            Column("worker"),
        ],
        wide=wide,
    )
    for reply in replies:
        for task in reply.data["tasks"]:
            running.add(task["task"], task["uuid"], span(task["seconds"]), reply.worker)
    note("")
    running.show()


@workers.command()
@_order_options
@_place
@click.pass_obj
def ping(outer: Place, /, place: Place, to: tuple[str, ...], timeout: float, json: bool) -> None:
    """Print the names of the workers that reply."""
    app = _app(outer, place)
    began = time.monotonic()
    replies = ControlClient(app).ask("ping", to=to, timeout=timeout)
    if json:
        print_json([reply.worker for reply in replies])
    else:
        for reply in replies:
            click.echo(reply.worker)
        note(f"{counted(len(replies), 'worker')} in {span(time.monotonic() - began)}")
    _end(app, replies)


def _pausing(verb: str, help: str) -> None:
    @workers.command(verb, help=help, short_help=help)
    @_order_options
    @words("what", "queue|task NAME", least=2, most=2)
    @servers
    @click.pass_obj
    def command(outer: Place, /, place: Place, what: tuple[str, ...], **given: Any) -> None:
        kind, name = what
        _tell(_app(outer, place), verb, {"kind": kind, "name": name}, **given)


_pausing("pause", "Pause a queue or a task: workers begin no runs of it.")
_pausing("resume", "Resume a paused queue or task.")


def _resizing(verb: str, help: str) -> None:
    @workers.command(verb, help=help, short_help=help)
    @_order_options
    @words("what", "COUNT", least=1, most=1)
    @servers
    @click.pass_obj
    def command(outer: Place, /, place: Place, what: tuple[str, ...], **given: Any) -> None:
        if not what[0].isdecimal() or len(what[0]) > 9:
            raise click.UsageError(
                f"COUNT is {what[0]!r}, expected a whole number from 1 to {MAX_SLOT_CHANGE}"
            )
        _tell(_app(outer, place), verb, {"count": int(what[0])}, **given)


_resizing("grow", "Have each worker run COUNT more tasks at a time.")
_resizing("shrink", "Have each worker run COUNT fewer tasks at a time.")


@workers.command("log-level")
@_order_options
@words("what", "LEVEL", least=1, most=1)
@servers
@click.pass_obj
def log_level(outer: Place, /, place: Place, what: tuple[str, ...], **given: Any) -> None:
    """Set the lowest level that workers log, until they restart."""
    _tell(_app(outer, place), "log-level", {"level": what[0].upper()}, **given)


@workers.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@_order_options
@_place
@click.pass_obj
def shutdown(outer: Place, /, place: Place, yes: bool, **given: Any) -> None:
    """Stop workers as SIGTERM does.

    Running tasks have the worker's grace time to finish.
    """
    app = _app(outer, place)
    to = given["to"]
    if not yes:
        click.confirm(f"stop {', '.join(to) if to else 'all workers of ' + app.masked_broker}?", abort=True)
    _tell(app, "shutdown", {}, **given)


def _app(outer: Place, inner: Place) -> App:
    """Make the app that the options before or after the subcommand name."""
    given = inner._asdict()
    return Place(
        **{name: given[name] if given[name] is not None else value for name, value in outer._asdict().items()}
    ).app()


def _tell(
    app: App, verb: str, args: dict[str, str | int], *, to: tuple[str, ...], timeout: float, json: bool
) -> None:
    replies = ControlClient(app).ask(verb, args, to=to, timeout=timeout)
    if json:
        print_json([{"worker": each.worker, "error": each.error, **each.data} for each in replies])
    else:
        for reply in replies:
            more = "".join(f", {name} {value}" for name, value in reply.data.items())
            click.echo(f"{reply.worker}: {reply.error or 'done'}{more}")
    _end(app, replies)


def _end(app: App, replies: list[Reply]) -> None:
    """Print that no worker replied, and exit with 1; raise GearmeshError if a worker refused."""
    if not replies:
        hint = (
            ""
            if app.config.remote_control
            else "; the setting remote_control is off, so only workers with the option --remote-control listen"
        )
        note(f"no Python worker of {app.masked_broker} replied{hint}", "yellow")
        click.get_current_context().exit(EXIT_NO_WORKER)
    refused = [reply for reply in replies if reply.error]
    if refused:
        raise GearmeshError(f"{short_id(refused[0].worker)}: {refused[0].error}")
