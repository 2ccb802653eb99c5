"""``gearmesh purge``: delete messages."""

from __future__ import annotations

import click
import msgspec

from gearmesh.cli.broker import channel_of, claims_of, inspecting
from gearmesh.cli.common import Place, as_json, servers
from gearmesh.cli.display import counted
from gearmesh.transports.base import Channel, Gone

__all__ = ["purge"]

#: Dead letters taken in one step.
STEP = 1000


@click.command()
@click.argument("name", required=False, metavar="[QUEUE]")
@click.option("--delayed", is_flag=True, help="Delayed messages, too.")
@click.option("--dead", is_flag=True, help="Dead letters, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@servers
def purge(name: str | None, delayed: bool, dead: bool, yes: bool, json: bool, place: Place) -> None:
    """Delete the waiting messages of QUEUE (default: the app's default queue), after asking.

    Messages that workers hold stay with them. The states of deleted tasks stay PENDING until they expire: a program
    that waits for one of their results waits until its timeout. A deleted call of a task with unique_for can be sent
    again at once, if the command knows the result backend.
    """
    with (
        channel_of(place._replace(queue=name or place.queue)) as (channel, name),
        claims_of(place) as gone_too,
    ):
        desk = inspecting(channel)
        if not yes:
            count = desk.count(name)
            what = [counted(count.pending + (count.aside or 0), "waiting message")]
            what += ["all delayed messages"] if delayed else []
            what += (
                ["all dead letters" if count.dead is None else counted(count.dead, "dead letter")]
                if dead
                else []
            )
            click.confirm(
                f"Delete {', '.join(what)} of {name}? This cannot be undone. Continue?", abort=True, err=True
            )
        gone = {"pending": desk.purge(name, gone_too)}
        if delayed:
            gone["delayed"] = desk.purge_delayed(name, gone_too)
        if dead:
            gone["dead"] = _bury(channel, name, gone_too)
    if json:
        click.echo(msgspec.json.encode({"queue": name, **gone}))
    else:
        click.echo(f"deleted from {name}: " + ", ".join(f"{count} {what}" for what, count in gone.items()))


def _bury(channel: Channel, queue: str, gone_too: Gone | None) -> int:
    gone = 0
    while letters := channel.dead_letters(queue, STEP):
        gone += channel.take_dead(queue, [letter.id for letter in letters], retry=False)
        if gone_too is not None:
            gone_too([letter.body for letter in letters])
    return gone
