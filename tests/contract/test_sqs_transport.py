"""The transport contract on SQS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import kombu
import pytest

from gearmesh.config import SQSConfig
from gearmesh.testing.contracts import TransportContract
from gearmesh.testing.contracts.support import Connect
from gearmesh.transports.registry import open_connection

from .sqs_queues import Queues

#: A short wait: a consumer that has ended goes on waiting for so long, and returns what it gets.
SETTINGS = SQSConfig(create_queues=True, receive_wait_time_seconds=1)


class TestSQSTransport(TransportContract):
    large_body_bytes = 200_000

    @pytest.fixture
    def connect(self, sqs_queues: Queues) -> Connect:
        def connect(consumer: str | None = None, **options: Any) -> kombu.Connection:
            url = sqs_queues.server.url
            return open_connection(url, consumer=consumer, options={"sqs": SETTINGS} | options)

        return connect

    @pytest.fixture
    def look(self, sqs_queues: Queues) -> Callable[[str], list[bytes]]:
        return sqs_queues.look
