"""The consumers of a worker's channel, and how they end."""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

import pytest

from gearmesh.transports.registry import open_connection
from gearmesh.worker.queue_consumer import QueueConsumer


def _ignore(message: object) -> None:
    """Take no part in the test."""


@pytest.mark.parametrize(
    ("error", "left"),
    [
        pytest.param(None, 0, id="no error"),
        pytest.param(ValueError(), 0, id="another error"),
        pytest.param(ConnectionError(), 2, id="a connection error"),
    ],
)
def test_its_consumers_end_unless_the_connection_is_broken(error: Exception | None, left: int) -> None:
    """A server that does not answer would keep a worker waiting once for each queue."""
    with open_connection(f"memory://{uuid4()}") as connection:
        channel = connection.channel()
        with (
            suppress(ValueError, ConnectionError),
            QueueConsumer(channel, _ignore, (ConnectionError,)) as consumer,
        ):
            consumer.begin(["one", "two"])
            assert len(channel._consumers) == 2
            if error is not None:
                raise error
        assert len(channel._consumers) == left


def test_a_queue_gets_one_consumer_and_can_be_left_and_read_again() -> None:
    with open_connection(f"memory://{uuid4()}") as connection:
        channel = connection.channel()
        with QueueConsumer(channel, _ignore, ()) as consumer:
            consumer.begin(["one", "two"])
            consumer.begin(["two"])
            assert len(channel._consumers) == 2
            consumer.end(["one", "three"])
            assert len(channel._consumers) == 1
            consumer.begin(["one", "two"])
            assert len(channel._consumers) == 2
