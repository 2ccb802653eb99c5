"""``gearmesh dead``: look at dead letters, give them another try, or let them go."""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from gearmesh.cli.broker import channel_of, claims_of
from gearmesh.cli.common import Place, as_json, as_wide, print_json, servers
from gearmesh.cli.display import counted, moment, show_rows
from gearmesh.errors import GearmeshError, RemoteProtocolError
from gearmesh.transports.base import DeadLetter
from gearmesh.wire.codec import decode
from gearmesh.wire.gotime import format_ns
from gearmesh.wire.state import FAILURE, PENDING, TaskState

__all__ = ["dead"]

#: Dead letters looked at in one command.
MOST = 10_000


@click.group()
def dead() -> None:
    """Look at dead letters, return them to their queue, or delete them."""


def _which(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the ids and ``--reason``, which choose among a queue's dead letters."""
    command = click.option("--all", "everything", is_flag=True, help="All of the queue.")(command)
    command = click.option("--reason", metavar="TEXT", help="All whose reason contains TEXT.")(command)
    command = click.argument("ids", nargs=-1, metavar="[ID]...")(command)
    return servers(command)


def _chosen(letters: list[DeadLetter], ids: tuple[str, ...], reason: str | None) -> list[DeadLetter]:
    """Those with an id that begins as one of ``ids``, or with that reason.

    Raises:
        GearmeshError: an id is no dead letter's, or more than one's.
    """
    chosen = {letter.id: letter for letter in letters if reason is not None and reason in letter.reason}
    for given in ids:
        found = [letter for letter in letters if letter.id.startswith(given)]
        if len(found) != 1:
            found_text = f"{len(found)} dead letters begin with" if found else "no dead letter has"
            raise GearmeshError(f"{found_text} the id {given!r} in this queue")
        chosen[found[0].id] = found[0]
    return list(chosen.values())


def _name(body: bytes) -> str:
    try:
        return decode(body).Name
    except RemoteProtocolError:
        return "?"


@dead.command("list")
@click.option("--reason", metavar="TEXT", help="Only those whose reason contains TEXT.")
@as_wide
@as_json
@servers
def list_(place: Place, reason: str | None, wide: bool, json: bool) -> None:
    """List a queue's dead letters, the oldest first."""
    with channel_of(place) as (channel, name):
        letters = channel.dead_letters(name, MOST)
    if reason is not None:
        letters = [letter for letter in letters if reason in letter.reason]
    if json:
        print_json([_as_json(letter) for letter in letters])
        return
    rows = [
        (x.id[:12], _name(x.body), str(x.count), moment(x.first), moment(x.last), x.reason) for x in letters
    ]
    show_rows(("id", "task", "times", "first", "last", "reason"), rows, wide=wide)
    click.secho(f"{counted(len(letters), 'dead letter')} in {name}", err=True)


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "task": _name(letter.body),
        "count": letter.count,
        "first": letter.first,
        "last": letter.last,
        "reason": letter.reason,
        "body": base64.b64encode(letter.body).decode(),
    }


@dead.command()
@click.argument("id", metavar="ID")
@servers
def show(place: Place, id: str) -> None:
    """Write one dead letter's original bytes to standard output."""
    with channel_of(place) as (channel, name):
        (letter,) = _chosen(channel.dead_letters(name, MOST), (id,), None)
    click.secho(
        f"{letter.id}  {counted(letter.count, 'time')}, first {moment(letter.first)}, last {moment(letter.last)}: "
        f"{letter.reason}",
        err=True,
    )
    sys.stdout.buffer.write(letter.body + b"\n")
    sys.stdout.flush()


def _take(
    place: Place,
    ids: tuple[str, ...],
    reason: str | None,
    *,
    retry: bool,
    everything: bool,
) -> None:
    if everything:
        reason = ""
    if not ids and reason is None:
        raise GearmeshError("no dead letters chosen: give ids (a prefix is enough), --reason TEXT, or --all")
    with channel_of(place) as (channel, name), claims_of(place) as gone:
        chosen = _chosen(channel.dead_letters(name, MOST), ids, reason)
        if retry:
            _begin_anew(place, chosen)
        count = channel.take_dead(name, [letter.id for letter in chosen], retry=retry)
        if not retry and gone is not None:
            gone([letter.body for letter in chosen])
    letters = counted(count, "dead letter")
    click.echo(f"returned {letters} to the tail of {name}" if retry else f"deleted {letters} of {name}")


def _begin_anew(place: Place, letters: list[DeadLetter]) -> None:
    """Write PENDING over the FAILURE that is stored of them.

    Should its worker be killed, who gets the message then would take that for the end of this try, and run nothing.
    """
    sigs = {}
    for letter in letters:
        with suppress(RemoteProtocolError):
            sig = decode(letter.body)
            sigs[sig.UUID] = sig
    with place.app() as app, app.reached_backend() as backend:
        if not backend.keeps:
            return
        created = format_ns(time.time_ns())
        backend.write(
            [
                TaskState(TaskUUID=uuid, TaskName=sigs[uuid].Name, State=PENDING, CreatedAt=created)
                for uuid, state in zip(sigs, backend.read(list(sigs)), strict=True)
                if state is not None and state.State == FAILURE
            ]
        )


@dead.command()
@_which
def retry(place: Place, ids: tuple[str, ...], reason: str | None, everything: bool) -> None:
    """Put dead letters back to the tail of their queue."""
    _take(place, ids, reason, retry=True, everything=everything)


@dead.command()
@_which
@click.confirmation_option("--yes", prompt="This cannot be undone. Continue?")
def drop(place: Place, ids: tuple[str, ...], reason: str | None, everything: bool) -> None:
    """Delete dead letters."""
    _take(place, ids, reason, retry=False, everything=everything)
