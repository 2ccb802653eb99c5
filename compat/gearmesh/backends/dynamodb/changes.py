"""Writes the changes of many tasks, 25 in one request. No change replaces a result.

DynamoDB has two ways to change a part of an item. UpdateItem makes a missing item, and takes one item in a request.
BatchExecuteStatement takes 25 statements of PartiQL, each with its own condition, and changes only items that exist. So
the batch goes first, and UpdateItem then makes the items that the batch did not find, which are rare. A client that may
not use PartiQL (permission ``dynamodb:PartiQLUpdate``) does everything by UpdateItem.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from gearmesh.backends.dynamodb.connection import (
    TRANSIENT,
    ConditionFailed,
    Connection,
    DynamoDBUnavailable,
    ItemTooLarge,
)
from gearmesh.backends.dynamodb.items import Change, too_large
from gearmesh.backends.dynamodb.requests import (
    UNPROCESSED_PAUSE_S,
    Condition,
    KeyedTable,
    finish,
    pause_before_rest,
    put_jobs,
    update,
)
from gearmesh.backoff import Backoff
from gearmesh.errors import BackendError, Unstorable

__all__ = ["change_all"]

log = logging.getLogger("gearmesh.dynamodb")

#: Statements in one BatchExecuteStatement: DynamoDB takes no more.
MAX_BATCH_STATEMENTS: Final = 25
#: DynamoDB's names, in its answer to one statement of a batch, of a condition that was not met, of a statement that it
#: does not take, and of a permission that is missing.
_CONDITION_FAILED: Final = "ConditionalCheckFailed"
_INVALID: Final = "ValidationError"
_DENIED: Final = ("AccessDenied", "AccessDeniedException")


def change_all(connection: Connection, table: KeyedTable, changes: Sequence[Change], now: float) -> None:
    """Carry out changes of different items, in any order. Leave out a change that would replace a state that it spares.

    Args:
        connection: this process's connection.
        table: the table of states.
        changes: the changes, each of another item.
        now: unix seconds.

    Raises:
        Unstorable: an item is too large. The other changes are carried out.
    """
    jobs = put_jobs(connection, table, [each.item for each in changes if each.item is not None])
    updates = [change for change in changes if change.item is None]
    step = MAX_BATCH_STATEMENTS if connection.batches_updates else 1
    for start in range(0, len(updates), step):
        part = updates[start : start + step]
        change = _change_batch if len(part) > 1 else _change_singly
        jobs.append(partial(change, connection, table, part, int(now)))
    finish(connection, jobs)


# -- one request each


def _change_singly(
    connection: Connection, table: KeyedTable, changes: Sequence[Change], now: int
) -> Unstorable | None:
    refused = None
    for change in changes:
        condition = _sparing(change.spared, now) if change.spared else None
        try:
            with suppress(ConditionFailed):  # the stored state must not be replaced
                update(
                    connection, table, change.uuid, change.fields, removed=change.removed, condition=condition
                )
        except ItemTooLarge:
            refused = refused or too_large(change.uuid, change.fields)
    return refused


def _sparing(spared: Sequence[str], now: int) -> Condition:
    """Return the condition that the item has none of these states, or has expired."""
    values = {f"spared{n}": {"S": state} for n, state in enumerate(spared)}
    among = ", ".join(f":{name}" for name in values)
    text = f"attribute_not_exists(#State) OR NOT #State IN ({among}) OR #TTL BETWEEN :one AND :now"
    return Condition(text, ("State", "TTL"), {**values, "one": {"N": "1"}, "now": {"N": str(now)}})


# -- batches


def _change_batch(
    connection: Connection, table: KeyedTable, changes: Sequence[Change], now: int
) -> Unstorable | None:
    singly: list[Change] = []
    pauses = Backoff(UNPROCESSED_PAUSE_S)
    left = list(changes)
    while left and connection.batches_updates:
        errors = _execute(connection, [_statement(table, change, now) for change in left])
        if errors is None:
            break
        again: list[Change] = []
        for change, error in zip(left, errors, strict=True):
            code, text = error.get("Code", ""), error.get("Message", "")
            if code in _DENIED or (code == _INVALID and "tem size" not in text):
                _do_without_batches(connection, text or code)
            if code in TRANSIENT:
                again.append(change)
            elif code and not (code == _CONDITION_FAILED and error.get("Item")):
                singly.append(change)  # the item is missing, or UpdateItem raises the error
        if again and connection.batches_updates:
            pause_before_rest(connection, pauses, len(again), fruitful=len(again) < len(left))
        left = again
    return _change_singly(connection, table, [*singly, *left], now)


def _execute(connection: Connection, statements: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Return DynamoDB's error to each statement, ``{}`` for one that was carried out.

    None: it carried out no statement, since it accepts no batch, or not this one.
    """
    try:
        answer = connection.call("batch_execute_statement", wanted="Responses", Statements=statements)
    except ItemTooLarge:
        return None
    except DynamoDBUnavailable as exc:
        if exc.code not in _DENIED:
            raise
        _do_without_batches(connection, str(exc))
        return None
    except BackendError as exc:
        _do_without_batches(connection, str(exc))
        return None
    return [each.get("Error", {}) for each in answer["Responses"]]


def _do_without_batches(connection: Connection, reason: str) -> None:
    if connection.batches_updates:
        connection.batches_updates = False
        log.info("states are written by single updates, not in batches, from now on: %s", reason)


def _statement(table: KeyedTable, change: Change, now: int) -> dict[str, Any]:
    """Return a change as a PartiQL statement, which does nothing if the item is missing or has a spared state."""
    text = f'UPDATE "{table.name}"' + "".join(f' SET "{name}"=?' for name in change.fields)
    text += "".join(f' REMOVE "{name}"' for name in change.removed) + f' WHERE "{table.key}"=?'
    parameters: list[Any] = [*change.fields.values(), {"S": change.uuid}]
    if change.spared:
        among = ",".join("?" for _ in change.spared)
        text += f' AND ("State" IS MISSING OR NOT "State" IN [{among}] OR "TTL" BETWEEN ? AND ?)'
        parameters += [{"S": state} for state in change.spared]
        parameters += [{"N": "1"}, {"N": str(now)}]
    return {
        "Statement": text,
        "Parameters": parameters,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
