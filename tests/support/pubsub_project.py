"""A project of a test's own on the Pub/Sub emulator, with the topics and subscriptions that it needs."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from gearmesh.transports.pubsub.addresses import Addresses
from gearmesh.transports.pubsub.api import PubSubAPI, types_of

__all__ = ["PubSubProject"]


class PubSubProject:
    """Creates topics and subscriptions in a project that no other test has. ``PUBSUB_EMULATOR_HOST`` must be set."""

    def __init__(self) -> None:
        self.name = f"p{uuid4().hex[:20]}"
        self.addresses = Addresses(self.name)
        self.api = PubSubAPI(self.addresses, create=True)

    def url(self, subscription: str) -> str:
        """The broker URL of a subscription."""
        return f"gcppubsub://{self.name}/{subscription}"

    def queue(self, queue: str, subscription: str = "", **settings: Any) -> str:
        """Create a topic and its subscription, with Pub/Sub's own settings; return the broker URL.

        Args:
            queue: the topic's name.
            subscription: the subscription's name; ``""``: the topic's.
            settings: fields of Pub/Sub's Subscription, as ``ack_deadline_seconds``.
        """
        subscription = subscription or queue
        topic = self.addresses.topic(queue)
        self.api.ensure(topic, "")
        wanted = types_of("Subscription")(
            name=self.addresses.named_subscription(subscription), topic=topic, **settings
        )
        self.api._make(self.api._stubs.create_subscription, wanted, wanted.name)
        return self.url(subscription)

    def topics(self) -> list[str]:
        """The names of the topics."""
        from google.cloud.pubsub_v1 import PublisherClient

        with PublisherClient() as client:
            return sorted(
                each.name.rpartition("/")[2] for each in client.list_topics(project=f"projects/{self.name}")
            )

    def publish(self, queue: str, *bodies: bytes, **attributes: str) -> list[str]:
        """Publish as another program would; return the messages' ids."""
        messages = [types_of("PubsubMessage")(data=body, attributes=attributes) for body in bodies]
        return list(self.api.publish(self.addresses.topic(queue), messages).result().message_ids)

    def take(self, subscription: str, count: int = 1000) -> list[Any]:
        """Pull messages and acknowledge them, as another program would; return Pub/Sub's own messages."""
        name = self.addresses.named_subscription(subscription)
        found = list(self.api.pull_now(name, count).result().received_messages)
        for call, _ in self.api.acknowledge(name, [each.ack_id for each in found]):
            call.result()
        return [each.message for each in found]
