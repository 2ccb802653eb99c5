"""``gearmesh cutover``: print the steps by which a task moves from Go to Python, and the way back."""

from __future__ import annotations

import click

from gearmesh.cli.apps import words
from gearmesh.cli.common import Place, servers
from gearmesh.errors import ConfigError
from gearmesh.shadow.cutover import Move, cutover_steps, own_queue
from gearmesh.wire.names import DEFAULT_QUEUE

__all__ = ["cutover"]


@click.command()
@words("name", "TASK", least=1, most=1)
@servers
def cutover(name: tuple[str, ...], place: Place) -> None:
    """Print the steps that move TASK from Go to Python in this deployment, and the way back. Changes nothing.

    --queue is the queue that the Go workers of the task read. It can be left out if the app's default queue is
    Machinery's, machinery_tasks.
    """
    with place.app() as app:
        task = name[0]
        if app.tasks and task not in app.tasks:
            raise ConfigError(f"task is {task!r}, expected one of the app's: {', '.join(sorted(app.tasks))}")
        if place.queue is None and app.default_queue != DEFAULT_QUEUE:
            raise click.UsageError(
                f"which queue do the Go workers of {task!r} read? The app's default queue is {app.default_queue!r}, "
                f"Machinery's is {DEFAULT_QUEUE!r}: give --queue NAME"
            )
        queue = place.queue or DEFAULT_QUEUE
        own = own_queue(app.tasks[task].options.queue if app.tasks else None, app.default_queue, queue)
        for heading, text in cutover_steps(Move(task, place.spec or "MODULE:APP", queue, own), app.config):
            click.secho(heading, bold=True)
            click.echo("\n".join(f"  {line}" for line in text.splitlines()))
