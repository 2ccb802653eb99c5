"""The transport contract on SQS, and what SQS alone has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import kombu
import pytest
from tests.support.servers import ElasticMQServer

from gearmesh.config import SQSConfig
from gearmesh.testing.contracts import TransportContract
from gearmesh.testing.contracts.support import Connect
from gearmesh.transports.registry import open_connection
from gearmesh.transports.sqs.message import body_of

#: A short wait: a consumer that has ended goes on waiting for so long, and returns what it gets.
SETTINGS = SQSConfig(create_queues=True, receive_wait_time_seconds=1)


@pytest.fixture(autouse=True)
def any_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISABLE_STRICT_SQS_CHECK", "true")


@pytest.fixture(scope="module")
def boto(elasticmq: ElasticMQServer) -> Any:
    return boto3.client("sqs", endpoint_url=elasticmq.endpoint, region_name="us-east-1")


@pytest.fixture
def connect(elasticmq: ElasticMQServer) -> Connect:
    def connect(consumer: str | None = None, **options: Any) -> kombu.Connection:
        return open_connection(elasticmq.url, consumer=consumer, options={"sqs": SETTINGS} | options)

    return connect


@pytest.fixture
def look(boto: Any, elasticmq: ElasticMQServer) -> Callable[[str], list[bytes]]:
    """Read what waits by receiving it and showing it again at once."""

    def look(queue: str) -> list[bytes]:
        url = f"{elasticmq.url}/{queue}"
        found: list[Any] = []
        try:
            while came := boto.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=30, MessageAttributeNames=["All"]
            ).get("Messages"):
                found += came
        except boto.exceptions.QueueDoesNotExist:
            return []
        for each in found:
            boto.change_message_visibility(
                QueueUrl=url, ReceiptHandle=each["ReceiptHandle"], VisibilityTimeout=0
            )
        return [
            body_of(
                each["Body"],
                {name: value["StringValue"] for name, value in each.get("MessageAttributes", {}).items()},
            )
            for each in found
        ]

    return look


class TestSQSTransport(TransportContract):
    large_body_bytes = 200_000

    @pytest.fixture
    def connect(self, connect: Connect) -> Connect:
        return connect

    @pytest.fixture
    def look(self, look: Callable[[str], list[bytes]]) -> Callable[[str], list[bytes]]:
        return look
