"""An ElasticMQ's queues as tests make and read them, with a client of their own that counts requests."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.config import Config
from tests.support.servers import ElasticMQServer
from tests.support.tally import Tally

from gearmesh.config import SQSConfig
from gearmesh.transports.sqs.message import body_of

__all__ = ["Queues"]


class Queues:
    """Makes queues of names that were never used, and reads them."""

    def __init__(self, server: ElasticMQServer) -> None:
        self.server = server
        self.boto: Any = self.client()
        #: requests that clients of :meth:`counting_settings` have sent, by operation
        self.requests = Tally()

    def client(self) -> Any:
        """Make a client of boto3."""
        return boto3.client(
            "sqs",
            endpoint_url=self.server.endpoint,
            region_name="us-east-1",
            config=Config(max_pool_connections=32, parameter_validation=False),
        )

    def counting_settings(self, **more: Any) -> SQSConfig:
        """Settings with a client of the user's own, whose requests are counted."""
        client = self.client()

        def count(request: Any, event_name: str, **kwargs: Any) -> None:
            self.requests.add(event_name.rpartition(".")[2])

        client.meta.events.register("before-send.sqs", count)
        return SQSConfig(client=client, **more)

    def make(self, *, fifo: bool = False, max_receives: int = 0, **attributes: Any) -> str:
        """Create a queue, with one for its dead letters if ``max_receives`` is above 0; return its name."""
        name = f"queue-{uuid.uuid4().hex[:10]}"
        common: dict[str, str] = {"FifoQueue": "true"} if fifo else {}
        end = ".fifo" if fifo else ""
        attributes = common | {key: str(value) for key, value in attributes.items()}
        if max_receives:
            url = self.boto.create_queue(QueueName=f"{name}-dead{end}", Attributes=common)["QueueUrl"]
            found = self.boto.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
            target = found["Attributes"]["QueueArn"]
            attributes["RedrivePolicy"] = json.dumps(
                {"deadLetterTargetArn": target, "maxReceiveCount": max_receives}
            )
        self.boto.create_queue(QueueName=f"{name}{end}", Attributes=attributes)
        return f"{name}{end}"

    def url(self, queue: str) -> str:
        """Return the URL of a queue."""
        return f"{self.server.url}/{queue}"

    def send(self, queue: str, *bodies: bytes, **more: Any) -> None:
        """Send as another program does."""
        for body in bodies:
            self.boto.send_message(QueueUrl=self.url(queue), MessageBody=body.decode(), **more)

    def counts(self, queue: str) -> tuple[int, int, int]:
        """Return how many messages wait, are hidden, and are delayed."""
        names = [f"ApproximateNumberOfMessages{end}" for end in ("", "NotVisible", "Delayed")]
        found = self.boto.get_queue_attributes(QueueUrl=self.url(queue), AttributeNames=names)["Attributes"]
        waiting, hidden, delayed = (int(found[name]) for name in names)
        return waiting, hidden, delayed

    def receive(self, queue: str, *, hidden: int = 30) -> list[Mapping[str, Any]]:
        """Receive all that waits, with all attributes."""
        found: list[Mapping[str, Any]] = []
        while came := self.boto.receive_message(
            QueueUrl=self.url(queue),
            MaxNumberOfMessages=10,
            VisibilityTimeout=hidden,
            MessageAttributeNames=["All"],
            AttributeNames=["All"],
        ).get("Messages"):
            found += came
        return found

    def look(self, queue: str) -> list[bytes]:
        """Receive the waiting messages and make them visible again at once; a queue that does not exist is empty."""
        try:
            found = self.receive(queue)
        except self.boto.exceptions.QueueDoesNotExist:
            return []
        for each in found:
            self.boto.change_message_visibility(
                QueueUrl=self.url(queue), ReceiptHandle=each["ReceiptHandle"], VisibilityTimeout=0
            )
        return [_body(each) for each in found]


def _body(message: Mapping[str, Any]) -> bytes:
    attributes = message.get("MessageAttributes", {})
    return body_of(message["Body"], {name: value["StringValue"] for name, value in attributes.items()})
