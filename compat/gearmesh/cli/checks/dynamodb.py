"""Checks the tables and the permissions of a DynamoDB that keeps results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gearmesh.cli.checks.base import Case, Finding
from gearmesh.errors import GearmeshError
from gearmesh.urls import DynamoDBTarget, parse, redact

if TYPE_CHECKING:
    from gearmesh.backends.dynamodb.connection import Connection
    from gearmesh.backends.dynamodb.requests import KeyedTable
    from gearmesh.backends.dynamodb.tables import TableStatus

__all__ = ["dynamodb_permissions", "dynamodb_tables"]

#: The key in the doctor's requests; no item has it.
_NOBODY: Final = "nobody"
#: A condition that no item meets, so a write with it changes nothing.
_NEVER: Final = "attribute_exists(#key) AND attribute_not_exists(#key)"
#: Permissions without which gearmesh works, with the consequence of each.
_OPTIONAL: Final = {
    "dynamodb:DescribeTable": "tables are not checked at start",
    "dynamodb:DescribeTimeToLive": "the doctor cannot see whether expired items are deleted",
    "dynamodb:PartiQLUpdate": "each state is written by a request of its own, so workers are slower",
    "dynamodb:Scan": "UUIDs must be given whole",
}


def dynamodb_tables(case: Case) -> Iterator[Finding]:
    """Find tables that are missing, have another key, or never delete expired items."""
    target = _target(case)
    if target is None:
        return
    from gearmesh.backends.dynamodb.connection import DynamoDBUnavailable
    from gearmesh.backends.dynamodb.tables import making_command, status_of, tables_of

    command = making_command(target, case.config.dynamodb)
    with closing(_connect(case, target)) as connection:
        for table in tables_of(case.config.dynamodb):
            try:
                status = status_of(connection, table)
            except DynamoDBUnavailable as exc:
                if exc.code != "AccessDeniedException":
                    return  # a check in servers.py reports it
                continue  # the check of permissions reports it
            yield from _findings(table, status, command)


def _findings(table: KeyedTable, status: TableStatus, command: str) -> Iterator[Finding]:
    about = f"table {table.name}"
    if not status.status:
        yield Finding("problem", about, "does not exist: no state can be stored", f"{command} makes it.")
    elif not status.right_key:
        text = f"its key is {status.key}, expected {table.key} (S): no item of Machinery's can be stored"
        advice = f"Name another table in the settings of DynamoDB; {command} makes it."
        yield Finding("problem", about, text, advice)
    elif status.ttl != "TTL":
        kept = f"deletes items by the attribute {status.ttl!r}" if status.ttl else "deletes nothing"
        text = f"its time to live {kept}: expired results are never deleted, and AWS bills their storage"
        yield Finding("note", about, text, f"Set its time to live to the attribute TTL; {command} does so.")


def dynamodb_permissions(case: Case) -> Iterator[Finding]:
    """Find actions that this client may not do. The check tries each one by a request that changes nothing."""
    target = _target(case)
    if target is None:
        return
    from gearmesh.backends.dynamodb.tables import tables_of

    missing: dict[str, list[str]] = {}
    with closing(_connect(case, target)) as connection:
        for table in tables_of(case.config.dynamodb):
            for action, attempt in _attempts(connection, table).items():
                if _denied(attempt):
                    missing.setdefault(action, []).append(table.name)
    for action, names in missing.items():
        without = _OPTIONAL.get(action)
        yield Finding(
            "problem" if without is None else "note",
            f"table {', '.join(names)}",
            f"{action} is not allowed: {without or 'results cannot be kept'}",
            "docs/reference/dynamodb.md has the policy that gearmesh needs.",
        )


def _target(case: Case) -> DynamoDBTarget | None:
    target = parse(case.config.backend, "backend")
    return target if isinstance(target, DynamoDBTarget) else None


def _connect(case: Case, target: DynamoDBTarget) -> Connection:
    from gearmesh.backends.dynamodb.connection import Connection, client_for

    given = case.config.dynamodb.client
    return Connection(client_for(target, given), redact(case.config.backend), owned=given is None)


def _denied(attempt: Callable[[], object]) -> bool:
    from gearmesh.backends.dynamodb.connection import DynamoDBUnavailable

    try:
        attempt()
    except DynamoDBUnavailable as exc:
        return exc.code in ("AccessDenied", "AccessDeniedException")
    except GearmeshError:  # the condition is not met, or the table does not exist
        return False
    return False


def _attempts(connection: Connection, table: KeyedTable) -> dict[str, Callable[[], object]]:
    """Return a harmless request for each action, by the permission that it needs."""
    key = table.keys(_NOBODY)
    names: dict[str, Any] = {"ConditionExpression": _NEVER, "ExpressionAttributeNames": {"#key": table.key}}
    batch = {table.name: [{"DeleteRequest": {"Key": key}}]}
    call = partial(partial, connection.call)
    attempts: dict[str, Callable[[], object]] = {
        "dynamodb:DescribeTable": call("describe_table", TableName=table.name),
        "dynamodb:DescribeTimeToLive": call("describe_time_to_live", TableName=table.name),
        "dynamodb:GetItem": call("get_item", TableName=table.name, Key=key),
        "dynamodb:BatchGetItem": call("batch_get_item", RequestItems={table.name: {"Keys": [key]}}),
        "dynamodb:PutItem": call("put_item", TableName=table.name, Item=key, **names),
        "dynamodb:UpdateItem": call("update_item", TableName=table.name, Key=key, **names),
        "dynamodb:DeleteItem": call("delete_item", TableName=table.name, Key=key, **names),
        "dynamodb:BatchWriteItem": call("batch_write_item", RequestItems=batch),
        "dynamodb:Scan": call("scan", TableName=table.name, Limit=1),
    }
    if table.key == "TaskUUID":
        attempts["dynamodb:PartiQLUpdate"] = partial(_try_statement, connection, table)
    return attempts


def _try_statement(connection: Connection, table: KeyedTable) -> None:
    """Try to change a missing item by a statement.

    If it is not allowed, DynamoDB refuses either the statement or the whole batch. Raises DynamoDBUnavailable then.
    """
    text = f'UPDATE "{table.name}" SET "State"=? WHERE "{table.key}"=?'
    statement = {"Statement": text, "Parameters": [{"S": ""}, {"S": _NOBODY}]}
    answer = connection.call("batch_execute_statement", Statements=[statement])
    error = answer["Responses"][0].get("Error", {})
    if error.get("Code", "").startswith("AccessDenied"):
        raise connection.error(error["Code"], error.get("Message", ""))
