"""Options that several commands share and that need no app. Completion in a shell waits for the imports here."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce, wraps
from typing import Any

import click

from gearmesh.cli.apps import words
from gearmesh.log_levels import LEVELS
from gearmesh.logs import FORMATS

__all__ = [
    "Decorator",
    "as_json",
    "as_table",
    "backend_option",
    "broker_option",
    "config_file",
    "count_option",
    "decorators",
    "limit_option",
    "logging_options",
    "queue_argument",
    "seconds_option",
    "server_options",
]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def decorators(*decorators: Decorator) -> Decorator:
    """Combine several decorators to one; the first of them is the outermost."""
    return lambda command: reduce(lambda inner, outer: outer(inner), reversed(decorators), command)


def seconds_option(
    name: str, help: str, *, least: float | None = None, most: float | None = None, **more: Any
) -> Decorator:
    """Add an option that takes seconds: any number, or one of ``least`` or more. The help shows its default, if any."""
    kind = float if least is None else click.FloatRange(least, most)
    shows = "default" in more
    return click.option(name, metavar="SECONDS", type=kind, help=help, show_default=shows, **more)


def count_option(*names: str, help: str, least: int = 1, most: int | None = None, **more: Any) -> Decorator:
    """Add an option that takes a whole number of ``least`` or more. The help shows its default, if it has one."""
    shows = "default" in more
    return click.option(*names, type=click.IntRange(least, most), help=help, show_default=shows, **more)


#: ``--config``: the file of settings.
config_file = click.option(
    "--config",
    metavar="FILE",
    type=click.Path(),
    help="YAML file with Machinery's settings, which win over the app's code. Default: the file that GEARMESH_CONFIG "
    "names; its settings do not win over the app's code.",
)
#: ``--json``: for scripts.
as_json = click.option("--json", is_flag=True, help="Print one JSON document, for scripts.")
#: ``--wide`` (every column, one line a row) and ``--json``, for commands that print a table.
as_table = decorators(
    click.option("--wide", is_flag=True, help="Show all columns and whole values, one line a row."), as_json
)
backend_option = click.option(
    "--backend", metavar="URL", help="Result backend; wins over the app's. [RESULT_BACKEND]"
)
broker_option = click.option("--broker", metavar="URL", help="Broker; wins over the app's. [BROKER]")
#: ``--broker`` and ``--backend``, for commands that run an app.
server_options = decorators(broker_option, backend_option)
#: ``--log-level`` (None: the level in the settings, else INFO) and ``--log-format``.
logging_options = decorators(
    click.option(
        "-l",
        "--log-level",
        "--loglevel",
        type=click.Choice(LEVELS, case_sensitive=False),
        help="Lowest level to log; default: the level in the settings, else INFO.",
    ),
    click.option(
        "--log-format",
        type=click.Choice(FORMATS),
        default="human",
        show_default=True,
        help="Form of log lines.",
    ),
)
#: ``--limit``, for commands that list messages.
limit_option = count_option("-n", "--limit", default=100, help="Show at most this number of messages.")


def queue_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add a queue as an argument after MODULE:APP, in place of ``--queue``; must stand directly above ``servers``."""

    @wraps(command)
    def collected(*args: Any, queues: tuple[str, ...], **given: Any) -> Any:
        if queues and given["queue"] is not None and given["queue"] != queues[0]:
            raise click.UsageError(
                f"the queue is {queues[0]!r} and, by --queue, {given['queue']!r}: give one of them"
            )
        given["queue"] = queues[0] if queues else given["queue"]
        return command(*args, **given)

    return words("queues", "[QUEUE]", most=1)(collected)
