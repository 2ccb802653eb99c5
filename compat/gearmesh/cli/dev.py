"""``gearmesh dev``: all that a project needs, without a server."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack

import click

from gearmesh.cli.common import app_argument, config_file, logging_options
from gearmesh.cli.local_redis import LocalRedis
from gearmesh.config.layers import Source, chosen_file
from gearmesh.logs import set_up_logging
from gearmesh.worker.loader import load_app
from gearmesh.worker.options import WorkerOptions

__all__ = ["dev"]


@click.command()
@app_argument
@click.option(
    "-c", "--concurrency", type=click.IntRange(1), default=10, show_default=True, help="Tasks at a time."
)
@config_file
@logging_options
def dev(app: str, concurrency: int, config: str | None, log_level: str | None, log_format: str) -> None:
    """Run an app's worker and scheduler, with a Redis in this folder if no broker is configured.

    The Redis listens on a socket in .gearmesh/ and keeps its data there. An App() without a broker, and the
    other commands in this folder, find it by themselves. One process a folder: it is not for production.
    """
    from gearmesh.worker.supervisor import run  # the other commands start without it

    set_up_logging(log_level or "INFO", log_format)
    options = WorkerOptions(
        concurrency=concurrency,
        config=config,
        log_level=log_level,
        log_format=log_format,
        with_scheduler=True,
    )
    signal.signal(signal.SIGTERM, _leave)
    with ExitStack() as stack:
        said = Source.read(config or chosen_file(os.environ), None, {}).said
        if "broker" not in said or said["broker"].origin == "gearmesh dev":
            server = stack.enter_context(LocalRedis(os.getcwd()))
            if load_app(app, config).config.broker == server.url:
                click.secho(
                    f"Redis {server.version()} in {server.folder}; other commands in this folder find it: "
                    "gearmesh send, result, queues, …",
                    err=True,
                )
            else:
                stack.close()
        if (broker := load_app(app, config).config).origin("broker") != "gearmesh dev":
            click.secho(
                f"broker {broker.shown('broker')} ({broker.origin('broker')}), no Redis here", err=True
            )
        code = run(app, options)
    sys.exit(code)


def _leave(number: int, frame: object) -> None:
    """By an exception, so that Redis is ended, too. While the worker runs, it has the signals."""
    raise SystemExit(128 + number)
