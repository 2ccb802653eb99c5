"""``gearmesh worker``."""

from __future__ import annotations

import sys

import click

from gearmesh.cli.common import app_argument, config_file, logging_options
from gearmesh.logs import set_up_logging
from gearmesh.transports.order import QueueOrder
from gearmesh.worker.options import POOLS, Pool, WorkerOptions

__all__ = ["worker"]


def _queues(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, int] | None:
    """Queues and their weights; 1 where none is given."""
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


def _weights(queues: dict[str, int] | None) -> QueueOrder:
    return queues if queues and set(queues.values()) != {1} else "fair"


@click.command()
@app_argument
@click.option(
    "-c", "--concurrency", type=click.IntRange(1), default=10, show_default=True, help="Tasks at a time."
)
@click.option(
    "--pool",
    type=click.Choice(POOLS),
    default="threads",
    show_default=True,
    help="What tasks run in. asyncio: 'async def' on one loop; processes: one task a process.",
)
@click.option(
    "-Q",
    "--queues",
    metavar="A,B=3",
    multiple=True,
    callback=_queues,
    help="Queues, with weights if some should come more often; default: the app's.",
)
@click.option("--strict-order", is_flag=True, help="Take from a queue only when those before it are empty.")
@click.option(
    "--lease", type=float, metavar="SECONDS", help="Silence after which others take over; default: the app's."
)
@click.option(
    "--grace", type=float, metavar="SECONDS", default=30.0, show_default=True, help="To finish, when stopped."
)
@click.option(
    "--soft-limit", type=click.FloatRange(0), metavar="SECONDS", help="Then a task is told to end; 0: never."
)
@click.option(
    "--hard-limit",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Then its process is killed (processes).",
)
@click.option(
    "--max-tasks-per-child",
    type=click.IntRange(1),
    metavar="N",
    help="Replace a process after so many tasks.",
)
@click.option(
    "--max-memory-per-child", type=click.IntRange(1), metavar="MIB", help="Replace a process that uses more."
)
@click.option(
    "--task-log-limit",
    type=click.IntRange(0),
    metavar="N",
    default=100,
    show_default=True,
    help="Tasks a second that get log lines of their own; the others are counted. 0: all.",
)
@click.option("--wait-for-broker", is_flag=True, help="Wait at start for a broker that is away.")
@click.option("--name", metavar="NAME", help="Begins the name it consumes under.")
@click.option("--watch", is_flag=True, help="Read the settings again every 10 s while it runs.")
@click.option("--with-scheduler", is_flag=True, help="Send the app's periodic tasks, too.")
@config_file
@logging_options
def worker(
    app: str,
    concurrency: int,
    pool: Pool,
    queues: dict[str, int] | None,
    strict_order: bool,
    lease: float | None,
    grace: float,
    soft_limit: float | None,
    hard_limit: float | None,
    max_tasks_per_child: int | None,
    max_memory_per_child: int | None,
    task_log_limit: int,
    wait_for_broker: bool,
    name: str | None,
    watch: bool,
    with_scheduler: bool,
    config: str | None,
    log_level: str | None,
    log_format: str,
) -> None:
    """Run the tasks of an app.

    The first SIGINT or SIGTERM stops taking tasks, finishes what runs and puts back what has not
    started; the second leaves now. Neither loses a task.
    """
    from gearmesh.worker.supervisor import run  # the other commands start without it

    options = WorkerOptions(
        concurrency=concurrency,
        pool=pool,
        soft_limit=soft_limit,
        hard_limit=hard_limit,
        max_tasks_per_child=max_tasks_per_child,
        max_memory_per_child=max_memory_per_child,
        queues=tuple(queues) if queues else None,
        queue_order="strict" if strict_order else _weights(queues),
        lease=lease,
        grace=grace,
        log_level=log_level,
        log_format=log_format,
        task_log_limit=task_log_limit,
        wait_for_broker=wait_for_broker,
        consumer_tag=name,
        config=config,
        watch=watch,
        with_scheduler=with_scheduler,
    )
    set_up_logging(log_level or "INFO", log_format)
    sys.exit(run(app, options))
