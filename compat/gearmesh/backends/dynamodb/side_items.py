"""Progress reports and claims: items in the table of states, under keys that Go never reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from gearmesh.backends.dynamodb.connection import ConditionFailed, Connection
from gearmesh.backends.dynamodb.items import Item, expired, expiry
from gearmesh.backends.dynamodb.requests import Condition, KeyedTable, get_all, put_all, update
from gearmesh.wire.names import (
    DYNAMODB_EXPIRES,
    DYNAMODB_HOLDER,
    DYNAMODB_REPORT,
    dynamodb_claim,
    task_report,
)

__all__ = ["claim", "read_reports", "release", "write_reports"]


def write_reports(
    connection: Connection, table: KeyedTable, bodies: Mapping[str, bytes], expire: int
) -> None:
    """Store a progress report for each UUID in place of the one before, for ``expire`` seconds."""
    until = {"N": str(expiry(expire))}
    put_all(
        connection,
        table,
        [
            {**table.keys(task_report(uuid)), DYNAMODB_REPORT: {"B": body}, "TTL": until}
            for uuid, body in bodies.items()
        ],
    )


def read_reports(connection: Connection, table: KeyedTable, uuids: Sequence[str]) -> list[bytes | None]:
    """Read the last reports, in order; None for one that does not exist or has expired."""
    found = get_all(connection, table, list(map(task_report, uuids)))
    return [_body(found.get(task_report(uuid))) for uuid in uuids]


def _body(item: Item | None) -> bytes | None:
    body = None if item is None or expired(item) else item.get(DYNAMODB_REPORT, {}).get("B")
    return None if body is None else bytes(body)


def claim(connection: Connection, table: KeyedTable, key: str, holder: str, seconds: float) -> str:
    """Give a key to ``holder`` if it has none; return the holder that it has now. DynamoDB decides between two."""
    while True:
        now = time.time()
        fields = {
            DYNAMODB_HOLDER: {"S": holder},
            DYNAMODB_EXPIRES: {"N": f"{now + seconds:.3f}"},
            "TTL": {"N": str(expiry(seconds, now))},
        }
        free = Condition(
            f"attribute_not_exists(#{DYNAMODB_HOLDER}) OR #{DYNAMODB_EXPIRES} <= :now",
            values={"now": {"N": f"{now:.3f}"}},
        )
        try:
            update(connection, table, dynamodb_claim(key), fields, condition=free, old=True)
            return holder
        except ConditionFailed as exc:
            held = exc.item.get(DYNAMODB_HOLDER, {}).get("S")
            if held is not None:
                return str(held)
        # The server did not return the item: read it, and try again if it has just been deleted.
        found = get_all(connection, table, [dynamodb_claim(key)]).get(dynamodb_claim(key))
        if found is not None:
            return str(found[DYNAMODB_HOLDER]["S"])


def release(connection: Connection, table: KeyedTable, claims: Sequence[tuple[str, str]]) -> None:
    """Free the keys of these (key, holder) pairs; another holder keeps its key."""
    jobs: list[Callable[[], None]] = [partial(_release, connection, table, *each) for each in claims]
    if jobs:
        connection.each(jobs)


def _release(connection: Connection, table: KeyedTable, key: str, holder: str) -> None:
    with suppress(ConditionFailed):  # another holder has the key, or none has it
        connection.call(
            "delete_item",
            TableName=table.name,
            Key=table.keys(dynamodb_claim(key)),
            ConditionExpression="#holder = :holder",
            ExpressionAttributeNames={"#holder": DYNAMODB_HOLDER},
            ExpressionAttributeValues={":holder": {"S": holder}},
        )
