"""``gearmesh aside``: messages that are parked."""

from __future__ import annotations

import click

from gearmesh.cli.broker import channel_of
from gearmesh.cli.common import Place, as_json, as_wide, print_json, servers
from gearmesh.cli.display import ago, counted, show_rows
from gearmesh.errors import GearmeshError, RemoteProtocolError
from gearmesh.transports.base import ListsParked, Parked
from gearmesh.wire.codec import decode
from gearmesh.wire.signature import Signature

__all__ = ["aside"]


@click.command()
@click.option(
    "-n", "--limit", type=click.IntRange(1), default=100, show_default=True, help="Show so many at most."
)
@as_wide
@as_json
@servers
def aside(limit: int, wide: bool, json: bool, place: Place) -> None:
    """List the parked messages of a queue: which tasks, why, since when and until when.

    A message is parked if no worker that got it has registered its task, or if its task may not start yet because of
    its rate. It returns to its queue by itself.
    """
    app = place.app()
    with channel_of(place) as (channel, name):
        if not isinstance(channel, ListsParked):
            raise GearmeshError(
                "this broker cannot list parked messages; on RabbitMQ they are in the queues gearmesh:wait.…"
            )
        parked = channel.parked(name, limit)
    max_age = app.config.unregistered_max_age
    if json:
        print_json([_as_json(each, max_age) for each in parked])
        return
    rows = []
    for each in parked:
        sig = _signature(each)
        if each.since is None:
            rows.append((sig.UUID, sig.Name, "its rate", "", ago(each.until), ""))
        else:
            rows.append(
                (
                    sig.UUID,
                    sig.Name,
                    "not registered",
                    ago(each.since),
                    ago(each.until),
                    ago(each.since + max_age),
                )
            )
    show_rows(("uuid", "task", "reason", "since", "next try", "dead letter"), rows, wide=wide)
    click.secho(f"{counted(len(parked), 'parked message')} of {name}", err=True)


def _signature(parked: Parked) -> Signature:
    try:
        return decode(parked.body)
    except RemoteProtocolError:
        return Signature(Name="?")


def _as_json(parked: Parked, max_age: float) -> dict[str, object]:
    sig = _signature(parked)
    return {
        "uuid": sig.UUID,
        "task": sig.Name,
        "reason": "rate" if parked.since is None else "unregistered",
        "since": parked.since,
        "next_try": parked.until,
        "dead_at": None if parked.since is None else parked.since + max_age,
    }
