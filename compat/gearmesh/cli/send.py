"""``gearmesh send``."""

from __future__ import annotations

import sys

import click

from gearmesh.cli.arguments import Typed, typed_arguments
from gearmesh.cli.common import Place, console, need_results, servers
from gearmesh.cli.show import state_table
from gearmesh.wire.state import SUCCESS

__all__ = ["send"]


@click.command()
@click.argument("name")
@click.argument("args", nargs=-1, callback=typed_arguments, metavar="[TYPE:VALUE]...")
@click.option("--wait", is_flag=True, help="Wait for the result and show it.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Wait so long at most; default: no limit.")
@servers
def send(name: str, args: tuple[Typed, ...], wait: bool, timeout: float | None, place: Place) -> None:
    """Send the task NAME and print its UUID.

    Arguments are typed as Go types them: int64:1 string:x bool:true '[]int64:[1,2]' '[]byte:aGk='
    (slices as JSON, bytes as base64). With --wait, exit code 1 says that the task failed.
    """
    with place.app() as app:
        if wait:
            need_results(app)
        task = app.remote(name, *(arg.type for arg in args))
        values = [arg.value for arg in args]
        result = task.apply_async(values, queue=place.queue) if place.queue else task.apply_async(values)
        if not wait:
            click.echo(result.uuid)
            return
        with console(stderr=True).status(f"waiting for {result.uuid}"):
            state = result.wait(timeout=timeout)
        console().print(state_table(found for found in app.states([result.uuid]) if found))
        sys.exit(state != SUCCESS)
