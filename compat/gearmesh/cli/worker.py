"""``gearmesh worker``."""

from __future__ import annotations

import sys

import click

from gearmesh.worker.logs import set_up_logging
from gearmesh.worker.options import LOG_FORMATS, LOG_LEVELS, POOLS, Pool, WorkerOptions

__all__ = ["worker"]


def _queues(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...] | None:
    names = tuple(dict.fromkeys(name.strip() for text in value for name in text.split(",")))
    if not all(names):
        raise click.BadParameter(f"{','.join(value)!r} has an empty name, expected names such as a,b")
    return names or None


@click.command()
@click.argument("app", metavar="MODULE:APP")
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
    "-Q", "--queues", metavar="A,B", multiple=True, callback=_queues, help="Queues; default: the app's."
)
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
@click.option("--wait-for-broker", is_flag=True, help="Wait at start for a broker that is away.")
@click.option("--name", metavar="NAME", help="Begins the name it consumes under.")
@click.option(
    "--log-level", type=click.Choice(LOG_LEVELS, case_sensitive=False), default="INFO", show_default=True
)
@click.option("--log-format", type=click.Choice(LOG_FORMATS), default="human", show_default=True)
def worker(
    app: str,
    concurrency: int,
    pool: Pool,
    queues: tuple[str, ...] | None,
    lease: float | None,
    grace: float,
    soft_limit: float | None,
    hard_limit: float | None,
    max_tasks_per_child: int | None,
    max_memory_per_child: int | None,
    wait_for_broker: bool,
    name: str | None,
    log_level: str,
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
        queues=queues,
        lease=lease,
        grace=grace,
        log_level=log_level.upper(),
        log_format=log_format,
        wait_for_broker=wait_for_broker,
        consumer_tag=name,
    )
    set_up_logging(options.log_level, options.log_format)
    sys.exit(run(app, options))
