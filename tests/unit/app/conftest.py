"""An app on the memory broker and backend, and its published messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from gearmesh import App
from gearmesh.transports.registry import open_connection
from gearmesh.wire.codec import decode
from gearmesh.wire.signature import Signature


@pytest.fixture
def url() -> str:
    return f"memory://{uuid4().hex}"


@pytest.fixture
def app(url: str) -> Iterator[App]:
    with App(url, url) as app:
        yield app


@pytest.fixture
def eager() -> Iterator[App]:
    with App("eager") as app:
        yield app


@pytest.fixture
def sent(url: str) -> Iterator[Callable[..., list[Signature]]]:
    """Return the messages that wait in a queue, decoded."""
    connection = open_connection(url)
    channel = connection.channel()
    yield lambda queue="machinery_tasks": [decode(body) for body in channel.pending(queue, 100_000)]
    connection.close()
