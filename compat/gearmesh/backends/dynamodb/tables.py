"""Checks and makes Machinery's two tables."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Final

from gearmesh.backends.dynamodb.connection import Connection, DynamoDBUnavailable
from gearmesh.backends.dynamodb.requests import KeyedTable
from gearmesh.config import DynamoDBConfig
from gearmesh.urls import DynamoDBTarget

__all__ = [
    "TTL_ATTRIBUTE",
    "TableStatus",
    "aws_commands",
    "check_tables",
    "enable_ttl",
    "make_table",
    "making_command",
    "status_of",
    "tables_of",
]

#: Go: the attribute of both tables by which DynamoDB deletes items.
TTL_ATTRIBUTE: Final = "TTL"
#: Seconds to wait for a new table.
TABLE_TIMEOUT_S: Final = 120
_DEFAULTS: Final = DynamoDBConfig()


@dataclass(frozen=True, slots=True)
class TableStatus:
    """Says whether a DynamoDB table exists and fits.

    Attributes:
        status: DynamoDB's word: ACTIVE, CREATING, …; ``""``: there is no such table.
        key: the attributes of its key with their types, ``TaskUUID (S)``.
        right_key: True: this is the key of Machinery's items.
        ttl: the attribute by which DynamoDB deletes expired items; ``""``: it deletes none.
    """

    status: str = ""
    key: str = ""
    right_key: bool = False
    ttl: str = ""


def tables_of(config: DynamoDBConfig) -> tuple[KeyedTable, KeyedTable]:
    """Return the table of states and the table of groups."""
    return KeyedTable(config.task_states_table, "TaskUUID"), KeyedTable(config.group_metas_table, "GroupUUID")


def making_command(target: DynamoDBTarget, config: DynamoDBConfig) -> str:
    """Return the command line that makes the tables that these settings name."""
    named = {
        "TASK_STATES_TABLE": (config.task_states_table, _DEFAULTS.task_states_table),
        "GROUP_METAS_TABLE": (config.group_metas_table, _DEFAULTS.group_metas_table),
    }
    variables = [f"{name}={shlex.quote(given)}" for name, (given, usual) in named.items() if given != usual]
    return " ".join([*variables, f"gearmesh dynamodb init --backend {target.url}"])


def aws_commands(target: DynamoDBTarget, config: DynamoDBConfig) -> list[str]:
    """Return command lines of the AWS client that make both tables."""
    where = f" --region {target.region}" * bool(target.region) + f" --endpoint-url {target.endpoint}" * bool(
        target.endpoint
    )
    lines = []
    for table in tables_of(config):
        name = f"--table-name {shlex.quote(table.name)}"
        lines += [
            f"aws dynamodb create-table {name} --attribute-definitions AttributeName={table.key},AttributeType=S "
            f"--key-schema AttributeName={table.key},KeyType=HASH --billing-mode PAY_PER_REQUEST{where}",
            f"aws dynamodb wait table-exists {name}{where}",
            f"aws dynamodb update-time-to-live {name} "
            f"--time-to-live-specification Enabled=true,AttributeName={TTL_ATTRIBUTE}{where}",
        ]
    return lines


def status_of(connection: Connection, table: KeyedTable, *, ttl: bool = True) -> TableStatus:
    """Read the status of a table. Without ``ttl`` this takes one request.

    Raises:
        DynamoDBUnavailable: DynamoDB does not answer, or refuses; ``code`` shows whether a permission is missing.
    """
    try:
        described = connection.call("describe_table", TableName=table.name)["Table"]
    except DynamoDBUnavailable as exc:
        if exc.code == "ResourceNotFoundException":
            return TableStatus()
        raise
    types = {each["AttributeName"]: each["AttributeType"] for each in described["AttributeDefinitions"]}
    keys = [each["AttributeName"] for each in described["KeySchema"]]
    shown = ", ".join(f"{name} ({types[name]})" for name in keys)
    right = keys == [table.key] and types[table.key] == "S"
    attribute = ""
    if ttl:
        answer = connection.call("describe_time_to_live", TableName=table.name)
        about: dict[str, Any] = answer.get("TimeToLiveDescription", {})
        if about.get("TimeToLiveStatus") in ("ENABLED", "ENABLING"):
            attribute = about.get("AttributeName", "")
    return TableStatus(described["TableStatus"], shown, right, attribute)


def check_tables(connection: Connection, target: DynamoDBTarget, config: DynamoDBConfig) -> None:
    """Check that both tables can be used, unless the client lacks the permission to do so.

    Raises:
        DynamoDBUnavailable: a table does not exist, or has another key. The error has the command that makes it.
    """
    for table in tables_of(config):
        try:
            status = status_of(connection, table, ttl=False)
        except DynamoDBUnavailable as exc:
            if exc.code == "AccessDeniedException":
                continue
            raise
        if status.status not in ("ACTIVE", "UPDATING"):
            state = f"is {status.status}" if status.status else "does not exist"
            raise DynamoDBUnavailable(
                f"DynamoDB: table {table.name!r} {state}; this makes it: {making_command(target, config)}",
                "ResourceNotFoundException",
            )
        if not status.right_key:
            raise DynamoDBUnavailable(
                f"DynamoDB: the key of table {table.name!r} is {status.key}, expected {table.key} (S): name another "
                f"table, and make it: {making_command(target, config)}",
                "ResourceNotFoundException",
            )


def make_table(connection: Connection, table: KeyedTable) -> None:
    """Make a table on demand (paid by the request), and wait until it can be used."""
    connection.call(
        "create_table",
        TableName=table.name,
        AttributeDefinitions=[{"AttributeName": table.key, "AttributeType": "S"}],
        KeySchema=[{"AttributeName": table.key, "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    waiter = connection.client.get_waiter("table_exists")
    waiter.wait(TableName=table.name, WaiterConfig={"Delay": 1, "MaxAttempts": TABLE_TIMEOUT_S})


def enable_ttl(connection: Connection, table: KeyedTable) -> None:
    """Let DynamoDB delete the table's expired items."""
    specification = {"Enabled": True, "AttributeName": TTL_ATTRIBUTE}
    connection.call("update_time_to_live", TableName=table.name, TimeToLiveSpecification=specification)
