"""``gearmesh result``: show the state of tasks and their results."""

from __future__ import annotations

import sys

import click

from gearmesh.app.app import App
from gearmesh.cli.apps import words
from gearmesh.cli.common import Place, need_results, servers
from gearmesh.cli.ids import cannot_look_up, full_ids
from gearmesh.cli.options import as_table
from gearmesh.cli.output import note, print_json
from gearmesh.cli.pending_reason import pending_reasons
from gearmesh.cli.show import show_states, state_json
from gearmesh.cli.waiting import EXIT_TIMEOUT, look_later, timeout_option, wait_for
from gearmesh.units import counted

__all__ = ["result"]


@click.command()
@click.option("--wait", is_flag=True, help="Wait until the tasks have ended.")
@timeout_option
@as_table
@words("uuids", "UUID...", least=1)
@servers
def result(uuids: tuple[str, ...], wait: bool, timeout: float, wide: bool, json: bool, place: Place) -> None:
    """Show the state of tasks, their progress, and their results. For a PENDING task, show the reason if the broker
    gives one. --queue names the queue to search, if the app does not name it.

    The first characters of a UUID are enough if the backend can look UUIDs up (Redis, MongoDB, DynamoDB,
    memory).

    Exit code 1: the backend does not know a UUID (any more), or, with --wait, a task failed. Exit code 3: with --wait,
    some tasks have not ended in time.
    """
    with place.results_app() as app:
        need_results(app)
        ids = full_ids(app, uuids)
        states = app.states(ids)
        ended = True
        running = [uuid for uuid, state in zip(ids, states, strict=True) if state and not state.final]
        if wait and running:
            ended = wait_for(app, running, timeout, look_later("result", running, place))
            states = app.states(ids)
        reports = app.reports(ids)
        reasons = pending_reasons(place, app, states)
        if json:
            rows = zip(ids, states, reports, strict=True)
            print_json([state_json(*row, reason=reasons.get(row[0])) for row in rows])
        else:
            found = [(state, told) for state, told in zip(states, reports, strict=True) if state]
            show_states([state for state, _ in found], [told for _, told in found], wide=wide)
        for uuid, state in zip(ids, states, strict=True):
            if state is None:
                note(_missing(app, uuid), "yellow")
        for uuid, reason in reasons.items():
            note(f"{uuid} is PENDING: {reason}", "yellow")
    if not ended:
        left = sum(state is not None and not state.final for state in states)
        note(f"{left} of {counted(len(ids), 'task')} have not ended within {timeout:g} s", "yellow")
        sys.exit(EXIT_TIMEOUT)
    failed = wait and any(state is not None and state.final and not state.success for state in states)
    sys.exit(failed or None in states)


def _missing(app: App, uuid: str) -> str:
    """The reason why no state of this UUID is stored, for people."""
    with app.reached_backend() as backend:
        if backend.read_group(uuid) is not None:
            return f"{uuid} is a group; look at it with: gearmesh groups {uuid}"
    if cannot_look_up(app, uuid):
        return f"{uuid} not found: the backend {app.masked_backend} needs the whole UUID"
    return f"{uuid} not found: it was never sent, or it has expired"
