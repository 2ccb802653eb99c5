"""Channels that read pages, and backends whose states can be walked through."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from gearmesh.backends.registry import open_backend
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import Commit, Publish
from gearmesh.interfaces.listing import SupportsPaging, SupportsStateWalk
from gearmesh.transports.registry import open_connection
from gearmesh.wire.codec import encode
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, GroupMeta, TaskState

URLS = ["memory", "redis", "cluster"]


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> Iterator[Any]:
    kind = request.param
    url = f"memory://{uuid4().hex}" if kind == "memory" else request.getfixturevalue(f"{kind}_url")
    with open_connection(url) as connection:
        yield connection.channel()


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    kind = request.param
    url = f"memory://{uuid4().hex}" if kind == "memory" else request.getfixturevalue(f"{kind}_url")
    backend = open_backend(url, expire=3600)
    yield backend
    backend.close()


def message(number: int) -> bytes:
    return encode(Signature(UUID=f"task_{number}", Name="count"))


def walked(step: Any, count: int) -> list[Any]:
    """Return all states that a walk finds, and assert that it ends."""
    found: list[Any] = []
    cursor = ""
    for _ in range(1000):
        cursor, part = step(cursor, count)
        found += part
        if not cursor:
            return found
    raise AssertionError("the walk does not end")


@pytest.mark.parametrize("channel", URLS, indirect=True)
def test_pages_of_waiting_messages(channel: Any) -> None:
    assert isinstance(channel, SupportsPaging)
    bodies = [message(number) for number in range(25)]
    channel.commit([Commit(publishes=(Publish(queue="shop", body=body),)) for body in bodies])
    assert channel.pending_page("shop", 0, 10) == bodies[:10]
    assert channel.pending_page("shop", 20, 10) == bodies[20:]
    assert channel.pending_page("shop", 30, 10) == []
    assert channel.pending_page("none", 0, 10) == []


@pytest.mark.parametrize("channel", URLS, indirect=True)
def test_pages_of_delayed_messages(channel: Any) -> None:
    later = time.time_ns() + 3600 * 10**9
    bodies = [message(number) for number in range(5)]
    channel.commit(
        [
            Commit(publishes=(Publish(queue="shop", body=body, eta_ns=later + at),))
            for at, body in enumerate(bodies)
        ]
    )
    assert channel.delayed_count() == 5
    assert [each.body for each in channel.delayed_page(1, 3)] == bodies[1:4]


@pytest.mark.parametrize("channel", URLS, indirect=True)
def test_a_walk_finds_the_queues(channel: Any) -> None:
    names = {f"queue{number}" for number in range(30)}
    channel.commit([Commit(publishes=(Publish(queue=name, body=message(1)),)) for name in sorted(names)])
    assert set(walked(channel.walk_queues, 10)) == names


@pytest.mark.parametrize("backend", ["memory", "redis", "cluster", "mongodb", "dynamodb"], indirect=True)
def test_a_walk_finds_states_and_groups(backend: Backend) -> None:
    assert isinstance(backend, SupportsStateWalk)
    uuids = [f"task_{uuid4()}" for _ in range(55)]
    group = f"group_{uuid4()}"
    backend.write([TaskState(TaskUUID=uuid, State=FAILURE, Error="broken") for uuid in uuids])
    backend.create_group(GroupMeta(GroupUUID=group, TaskUUIDs=tuple(uuids)))
    found = walked(backend.walk_states, 10)
    assert {each.TaskUUID for each in found if isinstance(each, TaskState)} == set(uuids)
    assert [each.GroupUUID for each in found if isinstance(each, GroupMeta)] == [group]
