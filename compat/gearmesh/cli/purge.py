"""``gearmesh purge``: delete messages."""

from __future__ import annotations

import click

from gearmesh.cli.broker import channel_of, claims_of
from gearmesh.cli.common import Place, servers
from gearmesh.cli.options import as_json, queue_argument
from gearmesh.cli.output import print_json
from gearmesh.cli.waiting import bars
from gearmesh.inspection.broker import inspecting
from gearmesh.inspection.dead_letters import all_dead
from gearmesh.interfaces.transport import Channel, DeletedCallback, QueueCounts
from gearmesh.units import counted

__all__ = ["purge"]


@click.command()
@click.option("--delayed", is_flag=True, help="Delayed messages, too.")
@click.option("--dead", is_flag=True, help="Dead letters, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@queue_argument
@servers
def purge(delayed: bool, dead: bool, yes: bool, json: bool, place: Place) -> None:
    """Delete the waiting messages of QUEUE (default: the app's default queue), after asking.

    Workers keep the messages that they hold. The states of deleted tasks stay PENDING until they expire, so a program
    that waits for one of their results waits until its timeout. A deleted call of a task with unique_for can be sent
    again at once, if the command knows the result backend.
    """
    with channel_of(place) as (channel, app), claims_of(app) as gone_too:
        name = place.queue or app.default_queue
        inspector = inspecting(channel)
        count = inspector.count(name)
        if not yes:
            total = _total(count)
            what = ["all waiting messages" if total is None else counted(total, "waiting message")]
            if delayed:
                what.append("all delayed messages")
            if dead:
                what.append("all dead letters" if count.dead is None else counted(count.dead, "dead letter"))
            click.confirm(
                f"Delete {', '.join(what)} of {name}? This cannot be undone. Continue?", abort=True, err=True
            )
        gone = _delete(channel, name, count, gone_too, delayed=delayed, dead=dead)
    if json:
        print_json({"queue": name, **gone})
    else:
        click.echo(f"deleted from {name}: " + ", ".join(f"{count:,} {what}" for what, count in gone.items()))


def _total(count: QueueCounts) -> int | None:
    """The number of messages that a purge deletes; None: the broker does not count them."""
    return None if count.pending is None else count.pending + (count.parked or 0)


def _delete(
    channel: Channel,
    queue: str,
    count: QueueCounts,
    gone_too: DeletedCallback | None,
    *,
    delayed: bool,
    dead: bool,
) -> dict[str, int]:
    """Delete messages, with a progress bar on a terminal; return the number of each kind."""
    inspector = inspecting(channel)
    with bars("messages") as shown:
        bar = shown.add_task(f"deleting from {queue}", total=_total(count))

        def told(bodies: list[bytes]) -> None:
            if gone_too is not None:
                gone_too(bodies)
            shown.advance(bar, len(bodies))

        # Without a callback, which releases claims, the server deletes a queue in one step.
        each = None if gone_too is None else told
        gone = {"pending": inspector.purge(queue, each)}
        if delayed:
            shown.update(bar, description=f"deleting delayed messages for {queue}", completed=0, total=None)
            gone["delayed"] = inspector.purge_delayed(queue, each)
        if dead:
            shown.update(bar, description=f"deleting dead letters of {queue}", completed=0, total=count.dead)
            gone["dead"] = 0
            for letters in all_dead(channel, queue):
                gone["dead"] += channel.take_dead(queue, [letter.id for letter in letters], retry=False)
                told([letter.body for letter in letters])
    return gone
