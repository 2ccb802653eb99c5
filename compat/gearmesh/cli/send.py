"""``gearmesh send``."""

from __future__ import annotations

import sys
import time
from typing import Any, Final

import click

from gearmesh.app.results import AsyncResult
from gearmesh.cli.arguments import Typed, typed_arguments
from gearmesh.cli.common import Place, as_json, as_wide, console, need_results, print_json, servers
from gearmesh.cli.show import show_states, state_json
from gearmesh.errors import ResultTimeout
from gearmesh.wire.state import SUCCESS

__all__ = ["send"]

#: Exit code of a wait that took too long.
EXIT_TIMEOUT: Final = 3
#: Seconds between two updates of the state that is shown while waiting.
UPDATE_INTERVAL_S: Final = 0.5


@click.command()
@click.argument("name")
@click.argument("args", nargs=-1, callback=typed_arguments, metavar="[TYPE:VALUE]...")
@click.option("--wait", is_flag=True, help="Wait for the result and show it.")
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    help="With --wait: stop waiting after this; 0: never.",
)
@as_wide
@as_json
@servers
def send(
    name: str, args: tuple[Typed, ...], wait: bool, timeout: float, wide: bool, json: bool, place: Place
) -> None:
    """Send the task NAME and print its UUID.

    Arguments carry their Go types: int64:1 string:x bool:true '[]int64:[1,2]' '[]byte:aGk=' (lists as JSON, bytes as
    base64). With -A they are checked against the task, if the app has it.

    With --wait, exit code 1 means that the task failed, and 3 that there was no result in time.
    """
    with place.app() as app:
        if wait:
            need_results(app)
        if (known := app.tasks.get(name)) is not None:
            known.declaration.check_types([arg.type for arg in args])
        task = app.remote(name, *(arg.type for arg in args))
        values = [arg.value for arg in args]
        result = task.apply_async(values, queue=place.queue) if place.queue else task.apply_async(values)
        if not json:
            click.echo(result.uuid)
        if not wait:
            if json:
                print_json({"uuid": result.uuid})
            return
        code = _wait(result, timeout or None)
        (state,) = app.states([result.uuid])
        if json:
            print_json({"uuid": result.uuid, "state": None if state is None else state_json(state)})
        elif state is not None and code != EXIT_TIMEOUT:
            show_states([state], wide=wide)
        sys.exit(code)


def _wait(result: AsyncResult[Any], timeout: float | None) -> int:
    """Show the task's state until it has ended; the exit code."""
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        with console(stderr=True).status(f"{result.uuid}: PENDING") as status:
            while True:
                left = (
                    UPDATE_INTERVAL_S
                    if deadline is None
                    else min(UPDATE_INTERVAL_S, deadline - time.monotonic())
                )
                try:
                    return 0 if result.wait(timeout=max(0.0, left)) == SUCCESS else 1
                except ResultTimeout:
                    if deadline is not None and time.monotonic() >= deadline:
                        click.secho(
                            f"no result within {timeout:g} s: the task is {result.state}. "
                            f"Look later with: gearmesh result {result.uuid}",
                            fg="yellow",
                            err=True,
                        )
                        return EXIT_TIMEOUT
                    status.update(f"{result.uuid}: {result.state}")
    except KeyboardInterrupt:
        click.secho(
            f"\nnot waiting any more. Look later with: gearmesh result {result.uuid}", fg="yellow", err=True
        )
        return 130
