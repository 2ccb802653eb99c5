"""The transport contract on a Pub/Sub emulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import kombu
import pytest
from tests.support.servers import PubSubServer

from gearmesh.config import PubSubConfig
from gearmesh.testing.contracts import TransportContract
from gearmesh.testing.contracts.support import Connect
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


class TestPubSubTransport(PubSubFixtures, TransportContract):
    """The whole contract."""
