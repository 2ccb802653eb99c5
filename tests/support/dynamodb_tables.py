"""Machinery's two tables in a DynamoDB of the tests."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import boto3
from tests.support.servers import DynamoDBServer

from gearmesh.config import DynamoDBConfig

__all__ = ["Tables"]


@dataclass(frozen=True)
class Tables:
    """A pair of tables; :meth:`make` creates them.

    Attributes:
        url: the address of their DynamoDB.
        config: the names of the tables.
        client: boto3's client, for requests that a test makes without gearmesh.
    """

    url: str
    config: DynamoDBConfig
    client: Any

    def state(self, task_uuid: str) -> dict[str, Any]:
        """Return the stored item of a task's state; ``{}`` if there is no item."""
        return self._item(self.config.task_states_table, {"TaskUUID": {"S": task_uuid}})

    def group(self, group_uuid: str) -> dict[str, Any]:
        """Return the stored item of a group."""
        return self._item(self.config.group_metas_table, {"GroupUUID": {"S": group_uuid}})

    def put_state(self, **item: Any) -> None:
        """Store an item in the table of states, as another program would."""
        self.client.put_item(TableName=self.config.task_states_table, Item=item)

    def _item(self, table: str, key: Any) -> dict[str, Any]:
        item: dict[str, Any] = self.client.get_item(TableName=table, Key=key, ConsistentRead=True).get(
            "Item", {}
        )
        return item

    @classmethod
    def named(cls, server: DynamoDBServer, states: str = "", groups: str = "") -> Tables:
        """Tables that are not made yet, by default with names that no other test has."""
        client = boto3.session.Session().client(
            "dynamodb", region_name="us-east-1", endpoint_url=server.endpoint
        )
        unique = uuid.uuid4().hex[:12]
        config = DynamoDBConfig(
            task_states_table=states or f"states_{unique}", group_metas_table=groups or f"groups_{unique}"
        )
        return cls(server.endpoint, config, client)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a program finds them under the URL ``https://dynamodb``."""
        return {
            "AWS_ENDPOINT_URL_DYNAMODB": self.url,
            "TASK_STATES_TABLE": self.config.task_states_table,
            "GROUP_METAS_TABLE": self.config.group_metas_table,
        }

    def make(self) -> None:
        """Make both."""
        for name, key in self._keys():
            self.client.create_table(
                TableName=name,
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
                KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
                BillingMode="PAY_PER_REQUEST",
            )

    def delete(self) -> None:
        """Delete those that are there."""
        for name, _ in self._keys():
            with suppress(self.client.exceptions.ResourceNotFoundException):
                self.client.delete_table(TableName=name)

    def _keys(self) -> tuple[tuple[str, str], ...]:
        return (self.config.task_states_table, "TaskUUID"), (self.config.group_metas_table, "GroupUUID")
