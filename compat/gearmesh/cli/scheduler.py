"""``gearmesh scheduler``: send periodic tasks until it is stopped."""

from __future__ import annotations

import sys
from typing import Any

import click

from gearmesh.cli.apps import app_argument
from gearmesh.cli.common import need_server
from gearmesh.cli.options import config_file, logging_options, seconds_option, server_options
from gearmesh.logs import set_up_logging
from gearmesh.worker.loader import load_app
from gearmesh.worker.options import WorkerOptions

__all__ = ["scheduler"]


@click.command()
@app_argument
@seconds_option("--grace", "Time to finish sending after SIGTERM.", least=0, most=10, default=10.0)
@click.option("--watch", is_flag=True, help="Read the settings again every 10 s while it runs.")
@server_options
@config_file
@logging_options
def scheduler(app: str, **given: Any) -> None:
    """Send the periodic tasks of an app when they are due.

    Any number of schedulers may run, Go's too: if they share a lock, one of them sends each task. At the first SIGINT
    or SIGTERM the scheduler finishes sending and stops; at the second it stops at once.
    """
    from gearmesh.scheduler.child import run  # the other commands are faster without this import

    options = WorkerOptions(**given)
    set_up_logging(options.log_level or "INFO", options.log_format)
    need_server(load_app(app, options.config, options.overrides), "scheduler")
    sys.exit(run(app, options))
