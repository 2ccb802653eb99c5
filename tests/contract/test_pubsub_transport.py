"""The transport contract on a Pub/Sub emulator."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import kombu
import pytest
from tests.support.servers import PubSubServer

from gearmesh.config import PubSubConfig
from gearmesh.testing.contracts import TransportContract
from gearmesh.testing.contracts.delays import DelayContract
from gearmesh.testing.contracts.support import Connect, OpenTap, signature
from gearmesh.transports.registry import open_connection


class PubSubFixtures:
    """A project of the test's own, whose topics and subscriptions are created as they are used."""

    @pytest.fixture
    def project(self, pubsub_emulator: PubSubServer) -> str:
        return f"p{uuid4().hex[:20]}"

    @pytest.fixture
    def pubsub_config(self) -> PubSubConfig:
        return PubSubConfig(
            create=True, dead_letter_topic="dead-letters", dead_letter_subscription="dead-letters"
        )

    @pytest.fixture
    def connect(self, project: str, pubsub_config: PubSubConfig) -> Connect:
        def connect(consumer: str | None = None, **options: Any) -> kombu.Connection:
            options = {"gcppubsub": pubsub_config} | options
            return open_connection(f"gcppubsub://{project}/tasks", consumer=consumer, options=options)

        return connect

    @pytest.fixture
    def look(self, connect: Connect) -> Callable[[str], list[bytes]]:
        def look(queue: str) -> list[bytes]:
            with connect() as connection:
                found: list[bytes] = connection.channel().look(queue, 5000)
                return found

        return look


class TestDelayTopic(PubSubFixtures, DelayContract):
    """Delayed messages wait in a topic of their own, which no Go worker reads."""

    @pytest.fixture
    def pubsub_config(self) -> PubSubConfig:
        return PubSubConfig(create=True, delay_topic="delays", delay_subscription="delays")

    def test_the_queue_gets_the_message_when_it_is_due_and_as_it_was_sent(
        self, tap: OpenTap, queue: str, project: str
    ) -> None:
        """Go reads the plain message, and not before its time."""
        forwarder = tap(f"{queue}_other")
        due = time.time() + 2
        forwarder.publish(queue, signature(queue), eta_ns=int(due * 1e9))
        reader = tap()
        api = reader.connection.transport.api
        name = api.addresses.subscription(queue)
        api.ensure(api.addresses.topic(queue), name)
        found = []
        while not found:
            forwarder.drain(0.1)
            found = list(api.pull_now(name, 10).result().received_messages)
            assert not found or time.time() >= due
        (received,) = found
        assert (received.message.data, dict(received.message.attributes)) == (signature(queue), {})


class TestPubSubTransport(PubSubFixtures, TransportContract):
    """The whole contract."""
