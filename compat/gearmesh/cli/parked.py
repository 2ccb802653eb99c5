"""``gearmesh parked``: list parked messages."""

from __future__ import annotations

import time
from typing import Any

import click

from gearmesh.cli.apps import words
from gearmesh.cli.broker import channel_of
from gearmesh.cli.common import Place, servers
from gearmesh.cli.inspect import in_queues, queue_column
from gearmesh.cli.options import as_table, limit_option
from gearmesh.cli.output import note, print_json
from gearmesh.cli.tables import Cell, Column, Table, note_count
from gearmesh.cli.times import time_cell
from gearmesh.errors import GearmeshError
from gearmesh.inspection.broker import known_queues
from gearmesh.inspection.messages import message_json, message_text
from gearmesh.inspection.times import exact, exact_or_none, ns_of_unix, span
from gearmesh.interfaces.transport import ParkedMessage, SupportsParkedListing

__all__ = ["parked"]


@click.command()
@limit_option
@as_table
@words("names", "[QUEUE]...")
@servers
def parked(names: tuple[str, ...], limit: int, wide: bool, json: bool, place: Place) -> None:
    """List parked messages with their tasks, the reason, and the times. The old name of this command is 'aside'.

    A worker parks a message if it has not registered the task, or if the task may not start yet because of its rate.
    The message returns to its queue by itself, again and again, until a worker runs it. If no worker registers the
    task, the message becomes a dead letter after a day (the setting unregistered_max_age).

    Without QUEUEs, it reads all queues that the app or the broker names. RabbitMQ cannot list queues, so there it reads
    the app's default queue and the queues of its tasks.
    """
    with channel_of(place) as (channel, app):
        exact_times = channel.lists_delayed
        if not isinstance(channel, SupportsParkedListing):
            raise GearmeshError(f"the broker {app.masked_broker} cannot list parked messages")
        wanted = place.queues(names) or known_queues(app, channel)
        found: list[tuple[str, ParkedMessage]] = []
        for name in wanted:
            found += [(name, message) for message in channel.parked(name, limit - len(found))]
            if len(found) == limit:
                break
    max_age = app.config.unregistered_max_age
    if json:
        print_json([_as_json(queue, message, max_age) for queue, message in found])
        return
    now = time.time_ns()
    table = Table(
        [
            Column("task", least=8),
            queue_column(wanted),
            Column("uuid", identifier=True, drop=1),
            Column("why"),
            Column("since"),
            Column("next try"),
            Column("dead letter"),
        ],
        wide=wide,
    )
    for queue, message in found:
        text = message_text(message.body)
        times = (message.since, _dies(message, max_age))
        since, dies = (time_cell(ns_of_unix(at), now) for at in times)
        why = "rate" if message.since is None else "not registered"
        table.add(text.task, queue, text.uuid, why, since, _next_try(message, now), dies)
    where = in_queues(wanted, [queue for queue, _ in found])
    note_count(len(found), "parked message", where, limit=limit, cut=table.show())
    if not exact_times:
        note(
            "RabbitMQ gives only the latest possible time of the next try, and does not list parked messages that are "
            "back in their queue at this moment"
        )


def _dies(parked: ParkedMessage, max_age: float) -> float | None:
    """The unix time after which the message becomes a dead letter at its next try; None: it never becomes one."""
    return None if parked.since is None else parked.since + max_age


def _next_try(parked: ParkedMessage, now_ns: int) -> Cell:
    until = ns_of_unix(parked.until)
    if until is None:
        return Cell("back in its queue")
    if until <= now_ns:
        return Cell("when a worker comes", exact(until))
    if parked.latest:
        return Cell(f"within {span((until - now_ns) / 1e9 + 1)}", exact(until))
    return time_cell(until, now_ns)


def _as_json(queue: str, parked: ParkedMessage, max_age: float) -> dict[str, Any]:
    text = message_text(parked.body)
    times = {"since": parked.since, "next_try": parked.until, "dead_at": _dies(parked, max_age)}
    return {
        "queue": queue,
        "uuid": text.uuid,
        "task": text.task,
        "reason": "rate" if parked.since is None else "unregistered",
        **{name: exact_or_none(ns_of_unix(at)) for name, at in times.items()},
        **message_json(parked.body),
    }
