"""Prolongs the life of states and groups, for chords that take longer than their states would live."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from gearmesh.backends.dynamodb.connection import ConditionFailed, Connection
from gearmesh.backends.dynamodb.items import FINAL_STATES, Item, expired, expires_at, expiry
from gearmesh.backends.dynamodb.requests import Condition, KeyedTable, get_all, update
from gearmesh.wire.names import DYNAMODB_EXPIRES

__all__ = ["keep_groups_alive", "keep_states_alive"]


def keep_states_alive(connection: Connection, table: KeyedTable, uuids: Sequence[str], expire: int) -> None:
    """Let the states that exist live ``expire`` seconds from now."""
    ending = _ending(connection, table, uuids, (table.key, "State", "TTL", DYNAMODB_EXPIRES), expire)
    until = {"N": str(expiry(expire))}
    jobs: list[Callable[[], None]] = []
    for uuid, item in ending.items():
        state = item.get("State", {}).get("S", "")
        attribute = "TTL" if state in FINAL_STATES else DYNAMODB_EXPIRES
        # A state that is written meanwhile has its own expiry.
        same = Condition("#State = :state", ("State",), {"state": {"S": state}})
        jobs.append(partial(_prolong, connection, table, uuid, {attribute: until}, same))
    if jobs:
        connection.each(jobs)


def keep_groups_alive(connection: Connection, table: KeyedTable, uuids: Sequence[str], expire: int) -> None:
    """Let the groups that exist live ``expire`` seconds from now."""
    ending = _ending(connection, table, uuids, (table.key, "TTL"), expire)
    until = {"N": str(expiry(expire))}
    there = Condition(f"attribute_exists(#{table.key})", (table.key,))
    jobs: list[Callable[[], None]] = [
        partial(_prolong, connection, table, uuid, {"TTL": until}, there) for uuid in ending
    ]
    if jobs:
        connection.each(jobs)


def _ending(
    connection: Connection, table: KeyedTable, uuids: Sequence[str], attributes: Sequence[str], expire: int
) -> dict[str, Item]:
    """Read the items that exist and expire, except those whose time was set a moment ago: AWS charges each write."""
    now = time.time()
    found = get_all(connection, table, uuids, attributes)
    return {
        uuid: item
        for uuid, item in found.items()
        if not expired(item, now) and 0 < expires_at(item) < now + expire - expire / 10
    }


def _prolong(
    connection: Connection, table: KeyedTable, uuid: str, fields: Item, condition: Condition
) -> None:
    with suppress(ConditionFailed):
        update(connection, table, uuid, fields, condition=condition)
