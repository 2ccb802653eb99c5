"""Fixtures: two tables of a test's own in the run's DynamoDB."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from tests.support.servers import DynamoDBServer

from gearmesh.config import DynamoDBConfig

__all__ = ["Tables", "dynamodb", "make_tables"]


@dataclass(frozen=True)
class Tables:
    """Two tables.

    Attributes:
        url: of their DynamoDB.
        config: their names.
        client: boto3's own, for what a test does beside gearmesh.
    """

    url: str
    config: DynamoDBConfig
    client: Any

    def state(self, task_uuid: str) -> dict[str, Any]:
        """The stored item of a task's state; ``{}``: there is none."""
        return self._item(self.config.task_states_table, {"TaskUUID": {"S": task_uuid}})

    def group(self, group_uuid: str) -> dict[str, Any]:
        """The stored item of a group."""
        return self._item(self.config.group_metas_table, {"GroupUUID": {"S": group_uuid}})

    def put_state(self, **item: Any) -> None:
        """Store an item in the table of states, as another program would."""
        self.client.put_item(TableName=self.config.task_states_table, Item=item)

    def _item(self, table: str, key: Any) -> dict[str, Any]:
        item: dict[str, Any] = self.client.get_item(TableName=table, Key=key, ConsistentRead=True).get(
            "Item", {}
        )
        return item


def make_tables(server: DynamoDBServer, *, make: bool = True) -> Tables:
    """Make two tables with names of their own; without ``make`` only the names."""
    client = boto3.session.Session().client("dynamodb", region_name="us-east-1", endpoint_url=server.endpoint)
    unique = uuid.uuid4().hex[:12]
    config = DynamoDBConfig(task_states_table=f"states_{unique}", group_metas_table=f"groups_{unique}")
    if make:
        for name, key in ((config.task_states_table, "TaskUUID"), (config.group_metas_table, "GroupUUID")):
            client.create_table(
                TableName=name,
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
                KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
                BillingMode="PAY_PER_REQUEST",
            )
    return Tables(server.endpoint, config, client)


@pytest.fixture
def dynamodb(dynamodb_local: DynamoDBServer) -> Iterator[Tables]:
    """Two tables of the test's own, deleted behind it."""
    tables = make_tables(dynamodb_local)
    yield tables
    for name in (tables.config.task_states_table, tables.config.group_metas_table):
        tables.client.delete_table(TableName=name)
