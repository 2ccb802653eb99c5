"""Backends on one vhost of RabbitMQ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.servers import RabbitServer

from gearmesh.backends.amqp import AMQPBackend
from gearmesh.backends.registry import open_backend
from gearmesh.interfaces.backend import Backend
from gearmesh.testing.contracts.store import an_int, make_state
from gearmesh.wire.state import SUCCESS, TaskState

Open = Callable[..., AMQPBackend]


@pytest.fixture
def open_amqp(amqp_url: str) -> Iterator[Open]:
    """Opens backends with ``expire``, ``url`` and the options of :class:`~gearmesh.config.AMQPConfig`."""
    opened: list[Backend] = []

    def open(*, expire: int = 3600, url: str = amqp_url, **options: Any) -> AMQPBackend:
        backend = open_backend(url, expire=expire, options=options)
        assert isinstance(backend, AMQPBackend)
        opened.append(backend)
        return backend

    yield open
    for backend in opened:
        backend.close()


def success(uuid: str, value: int = 0) -> TaskState:
    return make_state(uuid, SUCCESS, Results=(an_int(value),))


def queues(server: RabbitServer, url: str) -> dict[str, dict[str, Any]]:
    """All queues of a vhost, in the form of the recordings."""
    columns = ("name", "durable", "auto_delete", "exclusive", "arguments", "messages", "consumers")
    rows = server.listing("queues", *columns, vhost=vhost(url))
    return {row.pop("name"): row | {"arguments": sorted(row["arguments"])} for row in rows}


def vhost(url: str) -> str:
    return url.rpartition("/")[2]
