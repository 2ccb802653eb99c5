"""``gearmesh scheduler``."""

from __future__ import annotations

import sys

import click

from gearmesh.cli.common import app_argument, config_file, logging_options
from gearmesh.logs import set_up_logging
from gearmesh.worker.options import WorkerOptions

__all__ = ["scheduler"]


@click.command()
@app_argument
@click.option(
    "--grace",
    type=click.FloatRange(0, 10),
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    help="For what is being sent, when stopped.",
)
@click.option("--watch", is_flag=True, help="Read the settings again every 10 s while it runs.")
@config_file
@logging_options
def scheduler(
    app: str, grace: float, watch: bool, config: str | None, log_level: str | None, log_format: str
) -> None:
    """Send the periodic tasks of an app when they are due.

    As many as you like may run, Go's among them: with one lock, one of them sends each. The first SIGINT or
    SIGTERM finishes what is being sent; the second leaves now.
    """
    from gearmesh.scheduler.child import run  # the other commands start without it

    options = WorkerOptions(
        grace=grace, watch=watch, config=config, log_level=log_level, log_format=log_format
    )
    set_up_logging(log_level or "INFO", log_format)
    sys.exit(run(app, options))
