"""``gearmesh queues``, ``pending``, ``delayed`` and ``groups``: look at what is there. Nothing is changed."""

from __future__ import annotations

import base64
import sys
from collections import Counter
from typing import Any

import click
import msgspec

from gearmesh.app.app import App
from gearmesh.cli.broker import channel_of, inspecting
from gearmesh.cli.common import (
    Place,
    as_json,
    as_wide,
    console,
    need_results,
    print_json,
    results_servers,
    servers,
)
from gearmesh.cli.display import counted, moment, show_rows
from gearmesh.cli.show import show_states
from gearmesh.errors import LocalProtocolError, RemoteProtocolError
from gearmesh.transports.base import Count
from gearmesh.wire.codec import decode, encode
from gearmesh.wire.gotime import format_ns
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import GroupMeta

__all__ = ["delayed", "groups", "pending", "queues"]

_limit = click.option(
    "-n", "--limit", type=click.IntRange(1), default=100, show_default=True, help="Show so many at most."
)


@click.command()
@click.argument("names", nargs=-1, metavar="[QUEUE]...")
@as_json
@servers
def queues(names: tuple[str, ...], json: bool, place: Place) -> None:
    """Count the messages of queues: of those named, else of all that have any, and the default one.

    pending wait; held are with gearmesh's workers; aside come back by themselves; dead are dead letters.
    What a Go worker holds nobody can count. On Redis, finding all queues looks at every key.
    """
    with channel_of(place) as (channel, default):
        desk = inspecting(channel)
        wanted = names or ((place.queue,) if place.queue else tuple(sorted({default, *desk.queues()})))
        counts = [desk.count(name) for name in wanted]
    if json:
        print_json(counts)
        return
    fields = Count.__struct_fields__
    rows = [
        ["-" if (value := getattr(count, name)) is None else str(value) for name in fields]
        for count in counts
    ]
    show_rows(fields, rows)


@click.command()
@_limit
@as_wide
@as_json
@servers
def pending(limit: int, wide: bool, json: bool, place: Place) -> None:
    """Show the messages that wait in a queue, in their order, without taking them."""
    with channel_of(place) as (channel, name):
        bodies = channel.pending(name, limit)
    if json:
        print_json([_message(body) for body in bodies])
        return
    show_rows(("uuid", "task", "arguments", "retries", "group"), [_row(body) for body in bodies], wide=wide)
    _print_count(len(bodies), limit, f"waiting in {name}")


@click.command()
@_limit
@as_wide
@as_json
@servers
def delayed(limit: int, wide: bool, json: bool, place: Place) -> None:
    """Show the messages that wait for their time, the soonest first; with --queue, those for one queue."""
    with channel_of(place) as (channel, default):
        entries = channel.delayed(limit if place.queue is None else 1_000_000)
    entries = [
        entry
        for entry in entries
        if place.queue is None or (_signature(entry.body).RoutingKey or default) == place.queue
    ][:limit]
    if json:
        print_json([_message(entry.body, due=_moment(entry.eta_ns)) for entry in entries])
        return
    rows = []
    for entry in entries:
        uuid, *others = _row(entry.body)
        rows.append((uuid, moment(entry.eta_ns / 1e9), _signature(entry.body).RoutingKey or default, *others))
    show_rows(("uuid", "due", "queue", "task", "arguments", "retries", "group"), rows, wide=wide)
    _print_count(len(entries), limit, "delayed")


@click.command()
@click.argument("uuids", nargs=-1, required=True, metavar="UUID...")
@as_json
@results_servers
def groups(uuids: tuple[str, ...], json: bool, place: Place) -> None:
    """Show groups and chords by the UUIDs of their groups: how far their members are.

    Exit code 1 says that the backend knows none of at least one UUID (any more).
    """
    with place.results_app() as app:
        need_results(app)
        found: list[dict[str, Any]] = []
        for uuid in uuids:
            meta = _group(app, uuid)
            if meta is None:
                click.secho(
                    f"group {uuid} not found: it was never sent, it has expired, or it is a task's UUID",
                    fg="yellow",
                    err=True,
                )
                continue
            states = app.states(meta.TaskUUIDs)
            told = Counter(state.State if state else "EXPIRED" for state in states)
            if json:
                members = [
                    state or {"TaskUUID": task} for task, state in zip(meta.TaskUUIDs, states, strict=True)
                ]
                found.append({"group": meta, "states": told, "members": members})
                continue
            shown = ", ".join(f"{count} {name}" for name, count in sorted(told.items()))
            fired = "; its chord has fired" if meta.ChordTriggered else ""
            console().print(f"{uuid}: {len(states)} members: {shown}{fired}")
            show_states(state for state in states if state)
            found.append({})
    if json:
        print_json(found)
    sys.exit(len(found) < len(uuids))


def _group(app: App, uuid: str) -> GroupMeta | None:
    with app.reached_backend() as backend:
        return backend.read_group(uuid)


def _signature(body: bytes) -> Signature:
    """The message as Go would take it; the unreadable are empty."""
    try:
        return decode(body)
    except RemoteProtocolError:
        return Signature()


def _message(body: bytes, **more: str) -> dict[str, Any]:
    """For scripts: the signature as it is on the wire; of what is none, its bytes."""
    try:
        return {**more, "signature": msgspec.Raw(encode(decode(body)))}
    except RemoteProtocolError as exc:
        return {**more, "undecodable": str(exc), "body": base64.b64encode(body).decode()}


def _row(body: bytes) -> tuple[str, ...]:
    try:
        sig = decode(body)
    except RemoteProtocolError as exc:
        return "?", "?", f"undecodable: {exc}", "", ""
    args = ", ".join(f"{arg.Type}:{bytes(arg.Value).decode(errors='replace')}" for arg in sig.Args or ())
    return (
        sig.UUID,
        sig.Name,
        args if len(args) <= 200 else args[:199] + "…",
        str(sig.RetryCount),
        sig.GroupUUID,
    )


def _moment(ns: int) -> str:
    try:
        return format_ns(ns // 10**9 * 10**9)
    except LocalProtocolError:  # a score may be any number
        return "after the year 9999" if ns > 0 else "before the year 0"


def _print_count(count: int, limit: int, what: str) -> None:
    more = "the first " if count == limit else ""
    click.secho(f"{more}{counted(count, 'message')} {what}", err=True)
