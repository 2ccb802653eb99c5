"""``gearmesh send``: send one task, and wait for its result with ``--wait``."""

from __future__ import annotations

import difflib
import sys
import time
from typing import Any

import click

from gearmesh.app.app import App
from gearmesh.app.task import Task
from gearmesh.cli.apps import words
from gearmesh.cli.arguments import app_before_name, typed_arguments
from gearmesh.cli.common import Place, need_results, servers
from gearmesh.cli.options import as_table
from gearmesh.cli.output import print_json
from gearmesh.cli.pending_reason import pending_reasons
from gearmesh.cli.show import show_states, state_json
from gearmesh.cli.waiting import EXIT_TIMEOUT, look_later, tell_timeout, timeout_option, wait_for
from gearmesh.declarations.annotations import of_types
from gearmesh.declarations.declaration import ArgumentUnreadable
from gearmesh.errors import TaskError
from gearmesh.results.async_result import Typed
from gearmesh.wire import types as wire
from gearmesh.wire.signature import Signature

__all__ = ["send"]


@click.command()
@click.option("--wait", is_flag=True, help="Wait for the result and show it.")
@timeout_option
@click.option(
    "--unregistered",
    "--force",
    "unregistered",
    is_flag=True,
    help="With -A: send a task that the app has not registered, for example one of a Go worker.",
)
@as_table
@words("said", "NAME [TYPE:VALUE]...", least=1, has_app=app_before_name)
@servers
def send(
    said: tuple[str, ...],
    wait: bool,
    timeout: float,
    unregistered: bool,
    wide: bool,
    json: bool,
    place: Place,
) -> None:
    """Send the task NAME and print its UUID.

    Arguments carry their Go types: int64:1 string:x bool:true '[]int64:[1,2]' '[]byte:aGk=' (lists as JSON, bytes as
    base64). With -A, the command checks them against the app's task, and uses its queue and retries. A task that the
    app has not registered needs --unregistered.

    With --wait, exit code 1 means that the task failed, and 3 that no result came in time.
    """
    name, *rest = said
    args = typed_arguments(rest)
    with place.app() as app:
        if wait:
            need_results(app)
        if place.spec and name not in app.tasks and not unregistered:
            raise TaskError(_not_registered(app, name, place.spec))
        task = _task(app, name, args)
        values = [arg.value for arg in args]
        sent_at = time.monotonic()
        result = task.apply_async(values, queue=place.queue) if place.queue else task.apply_async(values)
        if not json:
            click.echo(result.uuid)
        elif not wait:
            print_json({"uuid": result.uuid, "task": name})
        if wait:
            sys.exit(_wait(app, result.uuid, timeout, sent_at, place, wide=wide, json=json))


def _not_registered(app: App, name: str, spec: str) -> str:
    alike = difflib.get_close_matches(name, app.tasks, n=1)
    hint = f"; did you mean {alike[0]!r}?" if alike else "."
    return f"{spec} has no task {name!r}{hint} If another program runs it, such as a Go worker, give --unregistered"


def _task(app: App, name: str, args: tuple[Typed, ...]) -> Task[..., Any, Any]:
    """Make the task to send, with the types that the user typed and the options of the app's task of that name.

    Raises:
        TaskError: the app's task of that name takes other arguments.
    """
    types = [arg.type for arg in args]
    known = app.tasks.get(name)
    if known is None:
        return app.remote(name, *types)
    known.declaration.check_types(types)
    try:
        known.declaration.read_args(Signature(Args=tuple(wire.arg(arg.type, arg.value) for arg in args)))
    except (
        ArgumentUnreadable
    ) as exc:  # for example a string that does not hold the JSON that the task expects
        raise TaskError(f"task {name!r} cannot read its arguments: {exc.__cause__}") from exc
    return Task(app, None, of_types(name, types, Any), known.options, unique_for=known.unique_for)


def _wait(
    app: App, uuid: str, timeout: float, sent_at: float, place: Place, *, wide: bool, json: bool
) -> int:
    """Wait for the result and show it; return the exit code."""
    later = look_later("result", [uuid], place)
    ended = wait_for(app, [uuid], timeout, later, f"; {uuid} was sent and may still run")
    seconds = time.monotonic() - sent_at if ended else None
    (state,) = app.states([uuid])
    reason = pending_reasons(place, app, [state]).get(uuid)
    if json:
        print_json(state_json(uuid, state, seconds=seconds, reason=reason))
    elif ended and state is not None:
        show_states([state], wide=wide, seconds=seconds)
    if not ended:
        tell_timeout(timeout, state, reason, later)
        return EXIT_TIMEOUT
    return 0 if state is None or state.success else 1
