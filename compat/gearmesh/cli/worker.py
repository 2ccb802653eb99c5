"""``gearmesh worker``: run tasks until it is stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import click

from gearmesh.cli.apps import app_argument
from gearmesh.cli.options import (
    config_file,
    count_option,
    decorators,
    logging_options,
    seconds_option,
    server_options,
)
from gearmesh.logs import set_up_logging
from gearmesh.transports.queue_order import QueueOrder
from gearmesh.worker.options import POOLS, WorkerOptions

if TYPE_CHECKING:
    from gearmesh.app.app import App

__all__ = ["worker", "worker_options"]


#: Celery's pools, and gearmesh's way to do the same.
CELERY_POOLS: Final = {
    **dict.fromkeys(("eventlet", "gevent"), "--pool asyncio, with 'async def' tasks"),
    "prefork": "--pool processes",
    "solo": "-c 1",
}


def _queues(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, int] | None:
    """Read the names of queues and their weights; a queue without a weight gets 1."""
    weights: dict[str, int] = {}
    for word in (word.strip() for text in value for word in text.split(",")):
        name, sign, weight = word.rpartition("=")
        if not sign or not weight.isdecimal():  # a queue's name may have a "=" in it
            name, weight = word, "1"
        if not name:
            raise click.BadParameter(
                f"{','.join(value)!r} has an empty name, expected names such as a,b or a=3,b"
            )
        weights[name] = int(weight)
    return weights or None


class _Pool(click.Choice):  # type: ignore[type-arg]
    """The type of ``--pool``: for a pool of Celery's, the error names gearmesh's option."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """click's hook: check the value. Raises BadParameter."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            if value not in CELERY_POOLS:
                raise
            self.fail(f"{error.message} Use {CELERY_POOLS[value]}.", param, ctx)


_options = decorators(
    count_option("-c", "--concurrency", default=10, help="Tasks that run at the same time."),
    click.option(
        "--pool",
        type=_Pool(POOLS),
        default="threads",
        show_default=True,
        help="Pool that runs tasks. asyncio: 'async def' tasks on one loop; processes: one task in each process.",
    ),
    click.option(
        "-Q",
        "--queues",
        metavar="A,B=3",
        multiple=True,
        callback=_queues,
        help="Queues to read, with weights if some should be read more often; default: the app's.",
    ),
    click.option(
        "--strict-order", is_flag=True, help="Read a queue only while the queues before it are empty."
    ),
    seconds_option(
        "--lease", "Silence after which other workers take over a worker's messages; default: the app's."
    ),
    seconds_option("--grace", "Time for running tasks to finish after SIGTERM.", default=30.0),
    seconds_option(
        "--soft-limit", "Interrupt a task that runs for longer by an exception; 0: no limit.", least=0
    ),
    seconds_option(
        "--hard-limit",
        "Kill the process of a task that runs for longer; needs --pool processes.",
        least=0,
    ),
    count_option("--max-tasks-per-child", metavar="N", help="Restart a process that has run N tasks."),
    count_option("--max-memory-per-child", metavar="MIB", help="Restart a process that uses more memory."),
    count_option(
        "--task-log-limit",
        least=0,
        metavar="N",
        default=100,
        help="Number of tasks a second that get a log line each; further ones are counted in one line. 0: no limit.",
    ),
    click.option("--wait-for-broker", is_flag=True, help="At the start, wait for an unreachable broker."),
    click.option(
        "--name", "consumer_tag", metavar="NAME", help="The first part of this worker's name on the broker."
    ),
    click.option(
        "--metrics-port",
        type=click.IntRange(0, 65535),
        metavar="PORT",
        help="Serve metrics for Prometheus at /metrics; needs the extra 'metrics'.",
    ),
    click.option(
        "--metrics-host", default="127.0.0.1", show_default=True, help="Address for the metrics to listen on."
    ),
    click.option(
        "--remote-control/--no-remote-control",
        default=None,
        help="Turn remote control through the broker on or off; default: the setting remote_control.",
    ),
    click.option("--watch", is_flag=True, help="Read the settings again every 10 s while it runs."),
    server_options,
    config_file,
    logging_options,
)


def worker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add all options of a worker; the command gets them as ``options``, a WorkerOptions."""

    @wraps(command)
    def collected(
        *args: Any,
        queues: dict[str, int] | None,
        strict_order: bool,
        with_scheduler: bool = True,
        **given: Any,
    ) -> Any:
        own = {key: given.pop(key) for key in list(given) if key not in WorkerOptions.__dataclass_fields__}
        weights: QueueOrder = queues if queues and set(queues.values()) != {1} else "fair"
        options = WorkerOptions(
            queues=tuple(queues) if queues else None,
            queue_order="strict" if strict_order else weights,
            with_scheduler=with_scheduler,
            **given,
        )
        return command(*args, options=options, **own)

    return _options(collected)


@click.command()
@app_argument
@click.option("--with-scheduler", is_flag=True, help="Also send the app's periodic tasks.")
@click.option(
    "--autoreload", is_flag=True, help="Start again when code in this folder changes, for development."
)
@worker_options
def worker(app: str, autoreload: bool, options: WorkerOptions) -> None:
    """Run the tasks of an app.

    At the first SIGINT or SIGTERM the worker takes no more tasks, finishes those that run and returns the others to
    their queues. At the second it returns all tasks and stops at once. Neither loses a task.
    """
    from gearmesh.worker.startup import run  # help and completion are faster without this import

    set_up_logging(options.log_level or "INFO", options.log_format)
    if autoreload:
        from gearmesh.cli.reloading import reload_on_change

        sys.exit(reload_on_change("--autoreload"))
    sys.exit(run(app, options, _need_server))


def _need_server(app: App) -> None:
    from gearmesh.cli.common import (
        need_server,
    )  # a slow import, for which the worker's first process must not wait

    need_server(app, "worker")
