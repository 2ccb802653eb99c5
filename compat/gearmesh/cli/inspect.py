"""``gearmesh queues``, ``pending``, ``delayed`` and ``groups``: show messages and groups. They change nothing."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import click
from msgspec import to_builtins

from gearmesh.app.app import App
from gearmesh.cli.apps import words
from gearmesh.cli.broker import channel_of
from gearmesh.cli.common import Place, listing_options, need_results, results_servers, servers
from gearmesh.cli.ids import full_ids
from gearmesh.cli.messages import message_columns
from gearmesh.cli.options import as_json, as_table
from gearmesh.cli.output import console, note, print_json
from gearmesh.cli.show import show_states
from gearmesh.cli.tables import Cell, Column, Table, note_count
from gearmesh.cli.times import time_cell
from gearmesh.cli.waiting import EXIT_TIMEOUT, look_later, timeout_option, wait_for
from gearmesh.inspection.broker import inspecting, is_unknown, known_queues
from gearmesh.inspection.messages import message_json, message_text, signature_of
from gearmesh.inspection.times import exact
from gearmesh.interfaces.transport import QueueCounts
from gearmesh.units import counted
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["delayed", "groups", "in_queues", "pending", "queue_column", "queues"]

#: Number of delayed messages that are read to count the delayed messages of each queue.
MAX_COUNTED_DELAYED: Final = 100_000


@click.command()
@as_json
@words("names", "[QUEUE]...")
@servers
def queues(names: tuple[str, ...], json: bool, place: Place) -> None:
    """Count the messages of the queues that you name, else of the app's queues and of all that have messages.

    pending: waiting in the queue. held: gearmesh workers have them. parked: their task is not registered or may not
    start yet. dead: dead letters. delayed: waiting for their ETA. consumers: gearmesh workers; silent ones have missed
    heartbeats or are dead.

    On Redis, the messages that Go workers hold cannot be counted, and every key is read to find all queues. SQS's
    numbers are approximate, and its held messages include parked ones. RabbitMQ does not count held, parked and delayed
    messages. Google Pub/Sub counts no messages; Cloud Monitoring does.
    """
    with channel_of(place) as (channel, app):
        inspector = inspecting(channel)
        waiting = _delayed_by_queue(channel, app.default_queue)
        wanted = place.queues(names) or sorted({*known_queues(app, channel), *(waiting or ())})
        counts = [inspector.count(name) for name in wanted]
        delayed = [count.delayed if waiting is None else waiting[count.queue] for count in counts]
    if json:
        rows = zip(counts, delayed, strict=True)
        print_json([{**to_builtins(count), "delayed": late} for count, late in rows])
        return
    names = ("pending", "held", "parked", "dead", "delayed")
    table = Table(
        [Column("queue", least=12), *(Column(name, right=True) for name in names), Column("consumers")]
    )
    for count, late in zip(counts, delayed, strict=True):
        table.add(count.queue, *_numbers(count, late))
    table.show()
    if waiting is not None and waiting.total() == MAX_COUNTED_DELAYED:
        note(f"delayed: only the first {MAX_COUNTED_DELAYED:,} messages were counted")


def _delayed_by_queue(channel: Any, default: str) -> Counter[str] | None:
    """The number of delayed messages of each queue; None if the broker does not list delayed messages."""
    if not channel.lists_delayed:
        return None
    return Counter(
        signature_of(entry.body).RoutingKey or default for entry in channel.delayed(MAX_COUNTED_DELAYED)
    )


def _numbers(count: QueueCounts, delayed: int | None) -> list[Cell]:
    """The cells of one queue; ``-`` for a number that the broker does not give."""
    numbers = [count.pending, count.held, count.parked, count.dead, delayed]
    cells = [Cell("-") if number is None else Cell(f"{number:,}", str(number)) for number in numbers]
    silent = f" ({count.silent} silent)" if count.silent else ""
    consumers = "-" if count.consumers is None else f"{count.consumers}{silent}"
    return [*cells, Cell(consumers, style="yellow" if count.consumers == 0 and count.pending else "")]


@click.command()
@listing_options
def pending(limit: int, wide: bool, json: bool, place: Place) -> None:
    """Show the messages that wait in queues, in their order, without taking them.

    Without QUEUE, it reads all queues that the app or the broker names. RabbitMQ cannot list queues, so there it reads
    the app's default queue and the queues of its tasks.
    """
    found: list[tuple[str, bytes]] = []
    with channel_of(place) as (channel, app):
        names = [place.queue] if place.queue else known_queues(app, channel)
        for name in names:
            if len(found) < limit:
                found += [(name, body) for body in channel.pending(name, limit - len(found))]
    if json:
        print_json([{"queue": name, **message_json(body)} for name, body in found])
        return
    table = Table([queue_column(names), *message_columns(least=16)], wide=wide)
    for name, body in found:
        table.add(name, *message_text(body))
    where = in_queues(names, [name for name, _ in found])
    note_count(len(found), "message", f"waiting {where}", limit=limit, cut=table.show())


@click.command()
@listing_options
def delayed(limit: int, wide: bool, json: bool, place: Place) -> None:
    """Show the messages of QUEUE, or of all queues, that wait for their ETA; the soonest come first."""
    with channel_of(place) as (channel, app):
        default = app.default_queue
        entries = channel.delayed(limit if place.queue is None else 1_000_000)
        unknown = place.queue is not None and is_unknown(app, channel, place.queue)
    entries = [
        entry
        for entry in entries
        if place.queue is None or (signature_of(entry.body).RoutingKey or default) == place.queue
    ][:limit]
    if json:
        print_json([{"due": exact(entry.eta_ns), **message_json(entry.body)} for entry in entries])
        return
    now = time.time_ns()
    table = Table([Column("due"), Column("queue", least=8), *message_columns(least=12)], wide=wide)
    for entry in entries:
        queue = signature_of(entry.body).RoutingKey or default
        table.add(time_cell(entry.eta_ns, now), queue, *message_text(entry.body))
    note_count(len(entries), "message", "delayed", limit=limit, cut=table.show())
    if unknown and not entries:
        note(
            f"no queue {place.queue!r} is known: no message is in it, no worker consumes it, and no task of the app "
            "goes to it. Without QUEUE, gearmesh delayed shows the messages of all queues",
            "yellow",
        )


@click.command()
@click.option("--wait", is_flag=True, help="Wait until all members have ended.")
@timeout_option
@as_table
@words("uuids", "UUID...", least=1)
@results_servers
def groups(uuids: tuple[str, ...], wait: bool, timeout: float, wide: bool, json: bool, place: Place) -> None:
    """Show the states of the members of groups and chords, which you name by the UUIDs of their groups.

    Exit code 1: the backend does not know a UUID (any more), or, with --wait, a member failed. Exit code 3: with
    --wait, some members have not ended in time.
    """
    with place.results_app() as app:
        need_results(app)
        ids = full_ids(app, uuids)
        metas = [_group(app, uuid) for uuid in ids]
        ended = True
        members = [uuid for meta in metas if meta for uuid in meta.TaskUUIDs]
        if wait and members:
            ended = wait_for(app, members, timeout, look_later("groups", ids, place))
        found: list[dict[str, Any]] = []
        failed = False
        for uuid, meta in zip(ids, metas, strict=True):
            if meta is None:
                note(
                    f"group {uuid} not found: it was never sent, it has expired, or it is a task's UUID",
                    "yellow",
                )
                continue
            states = app.states(meta.TaskUUIDs)
            failed = failed or any(
                state is not None and state.final and not state.success for state in states
            )
            found.append(_group_json(meta, states))
            if not json:
                _show_group(meta, states, wide=wide)
    if json:
        print_json(found)
    if not ended:
        note(f"some members have not ended within {timeout:g} s", "yellow")
        sys.exit(EXIT_TIMEOUT)
    sys.exit(len(found) < len(ids) or (wait and failed))


def _group(app: App, uuid: str) -> GroupMeta | None:
    with app.reached_backend() as backend:
        return backend.read_group(uuid)


def _told(states: list[TaskState | None]) -> dict[str, int]:
    """The number of members in each state; EXPIRED counts members without a state in the backend."""
    return dict(sorted(Counter(state.State if state else "EXPIRED" for state in states).items()))


def _group_json(meta: GroupMeta, states: list[TaskState | None]) -> dict[str, Any]:
    members = [state or {"TaskUUID": task} for task, state in zip(meta.TaskUUIDs, states, strict=True)]
    return {"group": meta, "states": _told(states), "members": members}


def _show_group(meta: GroupMeta, states: list[TaskState | None], *, wide: bool) -> None:
    told = ", ".join(f"{count} {name}" for name, count in _told(states).items())
    fired = "; its chord has fired" if meta.ChordTriggered else ""
    console().print(f"{meta.GroupUUID}: {counted(len(states), 'member')}: {told}{fired}", soft_wrap=True)
    if show_states([state for state in states if state], wide=wide):
        note("--wide shows whole UUIDs and values")


def in_queues(read: Sequence[str], found: Sequence[str]) -> str:
    """Name the queues with messages for a note, as ``in shop`` or ``in 3 queues``; if none has any, the queues read."""
    names = set(found or read)
    return f"in {names.pop()}" if len(names) == 1 else f"in {len(names)} queues"


def queue_column(read: Sequence[str]) -> Column:
    """The column that names the queue of a row; it is shown if the command reads several queues."""
    return Column("queue", least=8, shown=len(read) > 1)
