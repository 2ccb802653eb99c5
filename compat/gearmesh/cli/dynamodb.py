"""``gearmesh dynamodb``: make the tables that results need in DynamoDB."""

from __future__ import annotations

from typing import Any

import click

from gearmesh.cli.apps import words
from gearmesh.cli.common import Place, results_servers
from gearmesh.cli.options import as_json
from gearmesh.cli.output import print_json
from gearmesh.config import Config
from gearmesh.errors import BackendError, ConfigError
from gearmesh.urls import DynamoDBTarget, parse, redact

__all__ = ["dynamodb"]


@click.group()
def dynamodb() -> None:
    """Make the tables of results in DynamoDB."""


@dynamodb.command()
@click.option(
    "--dry-run", is_flag=True, help="Print the command lines of aws that do the same; change nothing."
)
@as_json
@words(None, most=0)
@results_servers
def init(dry_run: bool, json: bool, place: Place) -> None:
    """Make both tables, and let DynamoDB delete expired items. Existing tables keep their contents.

    The settings dynamodb.task_states_table and dynamodb.group_metas_table name the tables. They are made 'on demand':
    AWS bills each request. --dry-run prints command lines to which you can add other options.

    Exit code 2: a table of that name has another key or deletes by another attribute, or AWS refuses.
    """
    with place.results_app() as app:
        config = app.config
    target = _target(config)
    from gearmesh.backends.dynamodb.tables import aws_commands  # boto3 is an extra

    if dry_run:
        lines = aws_commands(target, config.dynamodb)
        if json:
            print_json(lines)
        else:
            click.echo("\n".join(lines))
        return
    rows = _make(target, config)
    if json:
        print_json(rows)
    else:
        for row in rows:
            click.echo(f"{row['table']}: {', '.join(row['done']) or 'exists'}")


def _target(config: Config) -> DynamoDBTarget:
    target = parse(config.backend, "backend")
    if not isinstance(target, DynamoDBTarget):
        raise ConfigError(
            f"backend is {redact(config.backend)!r}, expected a DynamoDB: give --backend "
            "https://dynamodb.REGION.amazonaws.com, or http://host:port of an emulator"
        )
    return target


def _make(target: DynamoDBTarget, config: Config) -> list[dict[str, Any]]:
    """Make missing tables; returns for each table its name and the changes made. Raises BackendError."""
    from gearmesh.backends.dynamodb.connection import Connection, DynamoDBUnavailable, client_for
    from gearmesh.backends.dynamodb.tables import enable_ttl, make_table, making_command, status_of, tables_of

    client = client_for(target, config.dynamodb.client)
    command = making_command(target, config.dynamodb)
    connection = Connection(client, command, owned=config.dynamodb.client is None)
    rows = []
    try:
        for table in tables_of(config.dynamodb):
            done = []
            if not (status := status_of(connection, table)).status:
                make_table(connection, table)
                done.append("made")
                status = status_of(connection, table)
            if not status.right_key:
                raise BackendError(
                    f"the key of table {table.name!r} is {status.key}, expected {table.key} (S): name another table"
                )
            if status.ttl not in ("", "TTL"):
                raise BackendError(
                    f"table {table.name!r} deletes items by the attribute {status.ttl!r}, expected 'TTL': name another "
                    "table, or change its time to live"
                )
            if not status.ttl:
                enable_ttl(connection, table)
                done.append("time to live enabled")
            rows.append({"table": table.name, "done": done})
    except DynamoDBUnavailable as exc:
        raise BackendError(str(exc)) from exc
    finally:
        connection.close()
    return rows
