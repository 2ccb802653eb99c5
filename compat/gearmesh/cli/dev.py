"""``gearmesh dev``: run a project's worker, scheduler and Redis, without a server."""

from __future__ import annotations

import dataclasses
import os
import sys
from contextlib import ExitStack

import click
from click.core import ParameterSource

from gearmesh.app.app import App
from gearmesh.cli.apps import app_argument
from gearmesh.cli.common import need_server, origin_of
from gearmesh.cli.local_redis import LocalRedis
from gearmesh.cli.output import note
from gearmesh.cli.worker import worker_options
from gearmesh.config.config import Source
from gearmesh.config.file import chosen_file
from gearmesh.logs import set_up_logging
from gearmesh.worker.loader import load_app
from gearmesh.worker.options import WorkerOptions
from gearmesh.worker.stop_signals import leaving_at_signals

__all__ = ["dev"]


@click.command()
@app_argument
@worker_options
@click.pass_context
def dev(ctx: click.Context, app: str, options: WorkerOptions) -> None:
    """Run an app's worker and scheduler, with a Redis in this folder if no broker is configured.

    The Redis listens on a socket in .gearmesh/ and keeps its data there. An App() without a broker, and the other
    commands in this folder, find it without any setting. Only one dev can run in a folder. Do not use it in production.

    The worker reads all queues to which the app's tasks are sent. If a task has a hard limit, the worker uses the pool
    'processes'. It does not reload: after a change of the code, stop it (Ctrl-C) and start it again.
    """
    from gearmesh.worker.startup import run  # help and completion are faster without this import

    set_up_logging(options.log_level or "INFO", options.log_format)
    with ExitStack() as stack:
        stack.enter_context(leaving_at_signals())
        servers = stack.enter_context(ExitStack())
        said = Source.read(options.config or chosen_file(os.environ), None, options.overrides).said
        server = None
        if "broker" not in said or said["broker"].origin == "gearmesh dev":
            server = servers.enter_context(LocalRedis(os.getcwd()))
        loaded = load_app(app, options.config, options.overrides)
        need_server(loaded, "worker")
        if server is not None and loaded.config.broker == server.url:
            note(
                f"Redis {server.version()} in {server.folder}; other commands in this folder find it: "
                "gearmesh send, result, queues, …"
            )
        else:
            servers.close()
            origin = origin_of(loaded, "broker")
            note(f"using broker {loaded.masked_broker} (from {origin}); not starting a local Redis")
        code = run(app, _fitting(ctx, loaded, options))
    sys.exit(code)


def _fitting(ctx: click.Context, app: App, options: WorkerOptions) -> WorkerOptions:
    """Complete the options by the queues and the pool that the app's tasks need."""
    if options.queues is None:
        queues = [app.default_queue, *sorted(task.options.queue or "" for task in app.tasks.values())]
        options = dataclasses.replace(options, queues=tuple(dict.fromkeys(filter(None, queues))))
    limited = sorted(name for name, task in app.tasks.items() if task.hard_limit)
    if limited and ctx.get_parameter_source("pool") is ParameterSource.DEFAULT:
        count = options.concurrency
        if ctx.get_parameter_source("concurrency") is ParameterSource.DEFAULT:
            count = min(count, os.cpu_count() or 1)
        options = dataclasses.replace(options, pool="processes", concurrency=count)
        note(f"using --pool processes -c {count}: task {limited[0]!r} has a hard limit")
    return options
