"""The ``gearmesh`` command: its subcommands by name, and errors as one line."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import Any, Final

import click

from gearmesh.errors import GearmeshError
from gearmesh.urls import redact_text

__all__ = ["main"]

#: Module of each command, in the order in which help lists them. Each is imported when it is asked for: a supervisor,
#: which starts again after each crash, needs no tables, no doctor and no demo.
COMMANDS: Final = {
    "dev": "dev",
    "worker": "worker",
    "scheduler": "scheduler",
    "periodic": "periodic",
    "send": "send",
    "result": "result",
    "revoke": "revoke",
    "tasks": "tasks",
    "groups": "inspect",
    "queues": "inspect",
    "pending": "inspect",
    "delayed": "inspect",
    "aside": "aside",
    "dead": "dead",
    "purge": "purge",
    "config": "config",
    "doctor": "doctor",
    "demo": "demo",
}


class _Commands(click.Group):
    """Shows an error of gearmesh's as one red line, with exit code 2; with --debug, as a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"gearmesh.cli.{COMMANDS[cmd_name]}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the commands that are spelt alike."""
        name = args[0] if args else ""
        if name and name not in COMMANDS and not name.startswith("-"):
            alike = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean {alike[0]!r}?" if alike else ""
            raise click.UsageError(f"No such command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except GearmeshError as error:
            if ctx.params.get("debug"):
                raise
            click.secho(f"error: {redact_text(str(error))}", fg="red", err=True)
            ctx.exit(2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gearmesh", prog_name="gearmesh")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
def main(debug: bool) -> None:
    """Python for Machinery task queues: send and run the tasks of Go services."""
