"""``gearmesh dead``: look at dead letters, give them another try, or let them go."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import click
from rich.table import Table

from gearmesh.cli.broker import channel_of
from gearmesh.cli.common import Place, console, servers
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
    """Dead letters: messages nobody could run, kept with the reason."""


def _which(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the ids and ``--reason``, which choose among a queue's dead letters."""
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
            raise GearmeshError(
                f"dead letter {given!r}: {len(found) or 'none'} of that id in this queue, expected one"
            )
        chosen[found[0].id] = found[0]
    return list(chosen.values())


def _name(body: bytes) -> str:
    try:
        return decode(body).Name
    except RemoteProtocolError:
        return "?"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")


@dead.command("list")
@click.option("--reason", metavar="TEXT", help="Only those whose reason contains TEXT.")
@servers
def list_(place: Place, reason: str | None) -> None:
    """List a queue's dead letters, the longest dead first."""
    with channel_of(place) as (channel, name):
        letters = channel.dead_letters(name, MOST)
    if reason is not None:
        letters = [letter for letter in letters if reason in letter.reason]
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True)
    for heading in ("task", "times", "first", "last", "reason"):
        table.add_column(heading, overflow="fold")
    for x in letters:
        table.add_row(x.id[:12], _name(x.body), str(x.count), _moment(x.first), _moment(x.last), x.reason)
    if letters:
        console().print(table)
    click.secho(f"{len(letters)} dead letters in {name}", err=True)


@dead.command()
@click.argument("id", metavar="ID")
@servers
def show(place: Place, id: str) -> None:
    """Write one dead letter's original bytes to standard output."""
    with channel_of(place) as (channel, name):
        (letter,) = _chosen(channel.dead_letters(name, MOST), (id,), None)
    click.secho(
        f"{letter.id}  {letter.count} times, {_moment(letter.first)} to {_moment(letter.last)}: {letter.reason}",
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
) -> None:
    if not ids and reason is None:
        raise GearmeshError(
            "which ones? give ids (their beginnings do), or --reason TEXT ('' is in every reason)"
        )
    with channel_of(place) as (channel, name):
        chosen = _chosen(channel.dead_letters(name, MOST), ids, reason)
        if retry:
            _begin_anew(place, chosen)
        count = channel.take_dead(name, [letter.id for letter in chosen], retry=retry)
    click.echo(f"{count} {'go back to the tail of' if retry else 'dropped from the dead letters of'} {name}")


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
def retry(place: Place, ids: tuple[str, ...], reason: str | None) -> None:
    """Put dead letters back to the tail of their queue."""
    _take(place, ids, reason, retry=True)


@dead.command()
@_which
@click.confirmation_option("--yes", prompt="Their bytes will be gone. Go on?")
def drop(place: Place, ids: tuple[str, ...], reason: str | None) -> None:
    """Delete dead letters."""
    _take(place, ids, reason, retry=False)
