"""The ``gearmesh`` command and what its subcommands share: options, and errors as one line."""

from __future__ import annotations

from typing import Any

import click

from gearmesh.cli.config import config
from gearmesh.cli.dead import dead
from gearmesh.cli.demo import demo
from gearmesh.cli.dev import dev
from gearmesh.cli.doctor import doctor
from gearmesh.cli.inspect import delayed, groups, pending, queues
from gearmesh.cli.periodic import periodic
from gearmesh.cli.purge import purge
from gearmesh.cli.result import result
from gearmesh.cli.revoke import revoke
from gearmesh.cli.scheduler import scheduler
from gearmesh.cli.send import send
from gearmesh.cli.worker import worker
from gearmesh.errors import GearmeshError
from gearmesh.testing.servers import ServerMissing
from gearmesh.urls import redact_text

__all__ = ["main"]


class _OneLine(click.Group):
    """What gearmesh raises by itself is one red line and exit code 2; with --debug, a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (GearmeshError, ServerMissing) as error:
            if ctx.params.get("debug"):
                raise
            click.secho(f"error: {redact_text(str(error))}", fg="red", err=True)
            ctx.exit(2)


@click.group(cls=_OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gearmesh", prog_name="gearmesh")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
def main(debug: bool) -> None:
    """Python for Machinery task queues: send and run the tasks of Go services."""


for command in (
    *(dev, worker, scheduler, periodic),
    *(send, result, revoke, groups),
    *(queues, pending, delayed, dead, purge),
    *(config, doctor, demo),
):
    main.add_command(command)
