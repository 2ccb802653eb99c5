"""Apps on the memory broker, and jobs without a broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from gearmesh import App
from gearmesh.interfaces.commit import Delivery
from gearmesh.transports.registry import open_connection
from gearmesh.wire.codec import decode
from gearmesh.wire.signature import Signature
from gearmesh.worker.job import Job


@pytest.fixture
def url() -> str:
    return f"memory://{uuid4().hex}"


@pytest.fixture
def app(url: str) -> Iterator[App]:
    with App(url, url) as app:
        yield app


@pytest.fixture
def make_job(app: App) -> Callable[..., Job]:
    """A job for a task of ``app``: its name, the wire's arguments, and other fields of the Signature."""
    numbers = count(1)

    def make(
        name: str,
        *args: Any,
        redelivered: int = 0,
        duplicate_attempt: int = 0,
        republished: bool = False,
        **fields: Any,
    ) -> Job:
        number = next(numbers)
        sig = Signature(UUID=f"task_{number}", Name=name, RoutingKey="machinery_tasks", Headers={}, Args=args)
        delivery = Delivery(
            queue="machinery_tasks",
            consumer="c",
            id=number,
            redelivered=redelivered,
            duplicate_attempt=duplicate_attempt,
            republished=republished,
        )
        return Job(sig.evolve(**fields), app.tasks[name], delivery, 0.0)

    return make


@pytest.fixture
def sent(url: str) -> Iterator[Callable[..., list[Signature]]]:
    """Return the messages that wait in a queue, decoded."""
    connection = open_connection(url)
    channel = connection.channel()
    yield lambda queue="machinery_tasks": [decode(body) for body in channel.pending(queue, 100_000)]
    connection.close()
