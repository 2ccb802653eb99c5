"""Reads and writes many items in few requests, and repeats the items that DynamoDB left unprocessed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from gearmesh.backends.dynamodb.connection import (
    Connection,
    DynamoDBUnavailable,
    ItemTooLarge,
)
from gearmesh.backends.dynamodb.items import MAX_ITEM_BYTES, Item, is_key, item_bytes, too_large
from gearmesh.backoff import Backoff
from gearmesh.errors import Unstorable

__all__ = [
    "UNPROCESSED_PAUSE_S",
    "Condition",
    "KeyedTable",
    "delete_all",
    "finish",
    "get_all",
    "pause_before_rest",
    "put_all",
    "put_jobs",
    "update",
]

#: Keys in one BatchGetItem, and items in one BatchWriteItem: DynamoDB takes no more.
MAX_BATCH_GET_KEYS: Final = 100
MAX_BATCH_WRITE_ITEMS: Final = 25
#: Seconds before the unprocessed part of a batch is sent again; doubled each time up to a second.
UNPROCESSED_PAUSE_S: Final = 0.05
#: A batch of which nothing was processed is repeated this many times, then the caller repeats the whole call.
MAX_FRUITLESS_TRIES: Final = 8


@dataclass(frozen=True, slots=True)
class KeyedTable:
    """The name of a table, and the attribute that is its key."""

    name: str
    key: str

    def keys(self, uuid: str) -> Item:
        """Return the key of an item."""
        return {self.key: {"S": uuid}}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition by which DynamoDB decides whether it writes an item.

    Attributes:
        text: DynamoDB's condition expression, with ``#Name`` for attributes and ``:name`` for values.
        names: the attributes that it names.
        values: its values, without the colons of their names.
    """

    text: str
    names: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


# -- reading


def get_all(
    connection: Connection, table: KeyedTable, uuids: Sequence[str], attributes: Sequence[str] = ()
) -> dict[str, Item]:
    """Read the items that exist, by their keys, with consistent reads.

    Args:
        connection: this process's connection.
        table: the items' table.
        uuids: any number of keys, also with duplicates.
        attributes: the attributes to read, the key among them; empty: all.
    """
    keys = [table.keys(uuid) for uuid in dict.fromkeys(uuids) if is_key(uuid)]
    wanted: dict[str, Any] = {"ConsistentRead": True}
    if attributes:
        wanted["ProjectionExpression"] = ",".join(f"#{name}" for name in attributes)
        wanted["ExpressionAttributeNames"] = {f"#{name}": name for name in attributes}
    jobs = [
        partial(_get_batch, connection, table.name, keys[start : start + MAX_BATCH_GET_KEYS], wanted)
        for start in range(0, len(keys), MAX_BATCH_GET_KEYS)
    ]
    return {item[table.key]["S"]: item for part in connection.each(jobs) for item in part} if jobs else {}


def _get_batch(connection: Connection, table: str, keys: list[Item], wanted: Mapping[str, Any]) -> list[Item]:
    found: list[Item] = []
    pauses = Backoff(UNPROCESSED_PAUSE_S)
    while True:
        request = {table: {"Keys": keys, **wanted}}
        answer = connection.call("batch_get_item", wanted="Responses", RequestItems=request)
        items: list[Item] = answer["Responses"].get(table, [])
        found += items
        # DynamoDB leaves keys out if the answer would be larger than 16 MB, and if it throttles.
        keys = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
        if not keys:
            return found
        pause_before_rest(connection, pauses, len(keys), fruitful=bool(items))


def pause_before_rest(connection: Connection, pauses: Backoff, left: int, *, fruitful: bool) -> None:
    """Wait before the rest of a batch is sent again. Raises DynamoDBUnavailable after too many fruitless tries."""
    if fruitful:
        pauses.reset()
    else:
        connection.throttling.throttled(f"{left} items of a batch are left unprocessed")
    if pauses.count >= MAX_FRUITLESS_TRIES:
        raise DynamoDBUnavailable(f"DynamoDB left {left} items of a batch unprocessed", "ThrottlingException")
    time.sleep(pauses.next())


# -- writing


def put_all(connection: Connection, table: KeyedTable, items: Sequence[Item]) -> None:
    """Store whole items in place of the stored ones.

    Raises:
        Unstorable: an item is too large. The others are stored.
    """
    finish(connection, put_jobs(connection, table, items))


def delete_all(connection: Connection, table: KeyedTable, uuids: Sequence[str]) -> None:
    """Delete the items that exist."""
    keys = [table.keys(uuid) for uuid in dict.fromkeys(uuids) if is_key(uuid)]
    requests = [{"DeleteRequest": {"Key": key}} for key in keys]
    finish(connection, [partial(_write_batch, connection, table, part) for part in _batches(requests)])


def update(
    connection: Connection,
    table: KeyedTable,
    uuid: str,
    fields: Mapping[str, Any],
    *,
    removed: Sequence[str] = (),
    condition: Condition | None = None,
    old: bool = False,
) -> None:
    """Set and remove attributes of one item. If the item is missing and the condition allows it, make the item.

    Args:
        connection: this process's connection.
        table: the item's table.
        uuid: the item's key.
        fields: attributes to set.
        removed: attributes to remove.
        condition: DynamoDB changes nothing unless the item meets it.
        old: True: ConditionFailed has the item that did not meet the condition.

    Raises:
        ConditionFailed: the item does not meet the condition.
        ItemTooLarge: the item would be too large.
    """
    names = {f"#{name}": name for name in (*fields, *removed)}
    values = {f":{name}": value for name, value in fields.items()}
    text = "SET " + ", ".join(f"#{name} = :{name}" for name in fields) if fields else ""
    if removed:
        text += " REMOVE " + ", ".join(f"#{name}" for name in removed)
    request: dict[str, Any] = {}
    if condition is not None:
        names |= {f"#{name}": name for name in condition.names}
        values |= {f":{name}": value for name, value in condition.values.items()}
        request["ConditionExpression"] = condition.text
    if values:
        request["ExpressionAttributeValues"] = values
    if old:
        request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    connection.call(
        "update_item",
        TableName=table.name,
        Key=table.keys(uuid),
        UpdateExpression=text,
        ExpressionAttributeNames=names,
        **request,
    )


def put_jobs(
    connection: Connection, table: KeyedTable, items: Sequence[Item]
) -> list[Callable[[], Unstorable | None]]:
    """Return the jobs that store whole items; each returns the error about an item that is too large, or None."""
    refused: list[Item] = []
    requests: list[dict[str, Any]] = []
    for item in items:
        if item_bytes(item) > MAX_ITEM_BYTES:
            refused.append(item)
        else:
            requests.append({"PutRequest": {"Item": item}})
    jobs: list[Callable[[], Unstorable | None]] = [
        partial(_write_batch, connection, table, part) for part in _batches(requests)
    ]
    return [*jobs, *(partial(too_large, item[table.key]["S"], item) for item in refused)]


def _batches(requests: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    step = MAX_BATCH_WRITE_ITEMS
    return [list(requests[start : start + step]) for start in range(0, len(requests), step)]


def _write_batch(
    connection: Connection, table: KeyedTable, requests: list[dict[str, Any]]
) -> Unstorable | None:
    pauses = Backoff(UNPROCESSED_PAUSE_S)
    while True:
        try:
            request = {table.name: requests}
            answer = connection.call("batch_write_item", wanted="UnprocessedItems", RequestItems=request)
        except ItemTooLarge:
            return _put_singly(connection, table, requests)
        left: list[dict[str, Any]] = answer["UnprocessedItems"].get(table.name, [])
        if not left:
            return None
        pause_before_rest(connection, pauses, len(left), fruitful=len(left) < len(requests))
        requests = left


def _put_singly(
    connection: Connection, table: KeyedTable, requests: Sequence[dict[str, Any]]
) -> Unstorable | None:
    """Store the items of a batch one by one, since DynamoDB refuses a whole batch for one item that is too large."""
    refused = None
    for request in requests:
        item = request["PutRequest"]["Item"]
        try:
            connection.call("put_item", TableName=table.name, Item=item)
        except ItemTooLarge:
            refused = refused or too_large(item[table.key]["S"], item)
    return refused


def finish(connection: Connection, jobs: Sequence[Callable[[], Unstorable | None]]) -> None:
    """Carry out jobs of writing, several at a time, and raise the first refusal after all are done."""
    for refused in connection.each(jobs) if jobs else ():
        if refused is not None:
            raise refused
