"""``gearmesh dead``: list dead letters, return them to their queue, or delete them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import click

from gearmesh.cli.apps import words
from gearmesh.cli.broker import channel_of, claims_of
from gearmesh.cli.common import Place, listing_options, servers
from gearmesh.cli.inspect import in_queues, queue_column
from gearmesh.cli.options import as_json, decorators
from gearmesh.cli.output import note, print_json
from gearmesh.cli.tables import Column, Table, note_count
from gearmesh.cli.times import time_cell
from gearmesh.cli.waiting import bars
from gearmesh.errors import GearmeshError
from gearmesh.inspection.broker import inspecting, known_queues
from gearmesh.inspection.dead_letters import all_dead, begin_anew
from gearmesh.inspection.messages import message_json, message_text
from gearmesh.inspection.times import exact_or_none, ns_of_unix
from gearmesh.interfaces.transport import DeadLetter
from gearmesh.units import counted

__all__ = ["dead"]

#: Number of dead letters of a queue that a search for ids and reasons reads.
MAX_SEARCHED_LETTERS: Final = 100_000


@click.group()
def dead() -> None:
    """List dead letters, return them to their queue, or delete them."""


#: The arguments that choose among a queue's dead letters: ids, ``--reason`` and ``--all``.
_which = decorators(
    as_json,
    words("ids", "[ID]..."),
    servers,
    click.option("--reason", metavar="TEXT", help="All dead letters whose reason contains TEXT."),
    click.option("--all", "everything", is_flag=True, help="All dead letters of the queue."),
)


def _chosen(
    letters: Sequence[DeadLetter], ids: tuple[str, ...], reason: str | None, queue: str
) -> list[DeadLetter]:
    """The letters whose id begins with one of ``ids``, or whose reason contains ``reason``.

    Raises:
        GearmeshError: no letter's id begins with one of ``ids``, or the ids of several letters do.
    """
    chosen = {letter.id: letter for letter in letters if reason is not None and reason in letter.reason}
    for given in ids:
        found = [letter for letter in letters if letter.id.startswith(given)]
        if len(found) != 1:
            raise GearmeshError(
                f"{len(found)} dead letters in queue {queue} have an id that begins with {given!r}"
                if found
                else f"no dead letter with id {given!r} in queue {queue}; name another queue with --queue"
            )
        chosen[found[0].id] = found[0]
    return list(chosen.values())


@dead.command("list")
@click.option("--reason", metavar="TEXT", help="Only dead letters whose reason contains TEXT.")
@listing_options
def list_(place: Place, reason: str | None, limit: int, wide: bool, json: bool) -> None:
    """List dead letters, the oldest first.

    Without QUEUE, it reads all queues that the app or the broker names. RabbitMQ cannot list queues, so there it reads
    the app's default queue and the queues of its tasks.
    """
    most = limit if reason is None else MAX_SEARCHED_LETTERS
    with channel_of(place) as (channel, app):
        names = [place.queue] if place.queue else known_queues(app, channel)
        letters = [letter for name in names for letter in channel.dead_letters(name, most)]
    letters = [letter for letter in letters if reason is None or reason in letter.reason]
    if len(names) > 1:
        letters.sort(key=lambda letter: letter.first)
    letters = letters[:limit]
    if json:
        print_json([_as_json(letter) for letter in letters])
        return
    now = time.time_ns()
    table = Table(
        [
            Column("id", identifier=True),
            queue_column(names),
            Column("task", least=8),
            Column("uuid", identifier=True, drop=2),
            Column("times", right=True),
            Column("first", drop=1),
            Column("last"),
            Column("reason", least=20),
        ],
        wide=wide,
    )
    for letter in letters:
        first, last = (time_cell(ns_of_unix(at), now) for at in (letter.first, letter.last))
        text = message_text(letter.body)
        table.add(
            letter.id, letter.queue, text.task, text.uuid, str(letter.count), first, last, letter.reason
        )
    where = in_queues(names, [letter.queue for letter in letters])
    note_count(len(letters), "dead letter", where, limit=limit, cut=table.show())
    if len({letter.queue for letter in letters}) > 1:
        note("dead show, retry and drop work on one queue: name it with --queue")


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    text = message_text(letter.body)
    return {
        "id": letter.id,
        "queue": letter.queue,
        "uuid": text.uuid,
        "task": text.task,
        "count": letter.count,
        "first": exact_or_none(ns_of_unix(letter.first)),
        "last": exact_or_none(ns_of_unix(letter.last)),
        "reason": letter.reason,
        **message_json(letter.body),
    }


@dead.command()
@as_json
@words("ids", "ID", least=1, most=1)
@servers
def show(place: Place, ids: tuple[str, ...], json: bool) -> None:
    """Write one dead letter's original bytes to standard output."""
    with channel_of(place) as (channel, app):
        name = place.queue or app.default_queue
        (letter,) = _chosen(channel.dead_letters(name, MAX_SEARCHED_LETTERS), ids, None, name)
    if json:
        print_json(_as_json(letter))
        return
    now = time.time_ns()
    first, last = (time_cell(ns_of_unix(at), now).text for at in (letter.first, letter.last))
    times = "died once" if letter.count == 1 else f"died {letter.count} times, first {first}"
    note(f"{letter.id} {times}, last {last}: {letter.reason}")
    sys.stdout.buffer.write(letter.body + b"\n")
    sys.stdout.flush()


def _take(
    place: Place,
    ids: tuple[str, ...],
    reason: str | None,
    everything: bool,
    json: bool,
    *,
    retry: bool,
    yes: bool,
) -> None:
    """Return dead letters to their queue, or delete them; ask the user first unless ``yes``."""
    if not (ids or everything) and reason is None:
        raise GearmeshError("no dead letters chosen: give ids (a prefix is enough), --reason TEXT, or --all")
    with channel_of(place) as (channel, app), claims_of(app) as gone:
        name = place.queue or app.default_queue
        if everything:
            total, parts = inspecting(channel).count(name).dead, all_dead(channel, name)
        else:
            letters = _chosen(channel.dead_letters(name, MAX_SEARCHED_LETTERS), ids, reason, name)
            total, size = len(letters), channel.dead_batch
            parts = (letters[start : start + size] for start in range(0, total, size))
        if not yes:
            what = "all dead letters" if total is None else counted(total, "dead letter")
            click.confirm(f"Delete {what} of {name}? This cannot be undone. Continue?", abort=True, err=True)
        count = 0
        with bars("dead letters") as shown:
            bar = shown.add_task("returning" if retry else "deleting", total=total)
            for part in parts:
                if retry:
                    begin_anew(app, part)
                count += channel.take_dead(name, [letter.id for letter in part], retry=retry)
                if not retry and gone is not None:
                    gone([letter.body for letter in part])
                shown.update(bar, completed=count)
    if json:
        print_json({"queue": name, "retried" if retry else "dropped": count})
        return
    said = counted(count, "dead letter")
    click.echo(f"returned {said} to the tail of {name}" if retry else f"deleted {said} of {name}")


@dead.command()
@_which
def retry(**given: Any) -> None:
    """Return dead letters to the tail of their queue."""
    _take(**given, retry=True, yes=True)


@dead.command()
@_which
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(**given: Any) -> None:
    """Delete dead letters, after asking."""
    _take(**given, retry=False)
