"""A flush asks this of a backend that the broker knows nothing of."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import msgspec
import pytest

from gearmesh.backends.registry import open_backend
from gearmesh.commits.flusher import Flusher
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import ChordCheck, Commit, Delivery, Settle, Trigger
from gearmesh.testing.contracts.support import Tap, signature
from gearmesh.transports.registry import open_connection
from gearmesh.wire.state import PENDING, SUCCESS, GroupMeta, TaskState

QUEUE = "machinery_tasks"
MEMBERS = 20


@pytest.fixture
def backend() -> Iterator[Backend]:
    backend = open_backend(f"memory://{uuid4()}", expire=60)
    yield backend
    backend.close()


@pytest.fixture
def tap() -> Iterator[Tap]:
    tap = Tap(open_connection(f"memory://{uuid4()}"), (QUEUE,), 0)
    yield tap
    tap.close()


@pytest.fixture
def flusher(tap: Tap, backend: Backend) -> Flusher:
    flusher = Flusher(tap.verbs, backend)
    flusher.atomic = False  # as if the states were elsewhere
    return flusher


def members(tap: Tap, backend: Backend, redelivered: int = 0) -> list[Commit]:
    """A group, and the commit of each of its members, none of which is written yet."""
    uuids = tuple(f"task_{n}" for n in range(MEMBERS))
    backend.create_group(GroupMeta(GroupUUID="group", TaskUUIDs=uuids))
    tap.publish(QUEUE, *(signature(QUEUE, n) for n in range(MEMBERS)))

    def commit(uuid: str, delivery: Delivery) -> Commit:
        delivery = msgspec.structs.replace(delivery, redelivered=redelivered)
        return Commit(
            states=(TaskState(TaskUUID=uuid, State=SUCCESS),),
            settle=Settle(delivery),
            chord=ChordCheck("group", MEMBERS),
        )

    return [commit(uuid, message.delivery) for uuid, message in zip(uuids, tap.take(MEMBERS), strict=True)]


def test_one_member_of_a_flush_fires_for_all(flusher: Flusher, tap: Tap, backend: Backend) -> None:
    """Otherwise each member would read the states of all, which takes long for thousands."""
    commits = members(tap, backend)
    assert flusher.flush(commits[:5]) == ["done"] * 5
    outcomes = flusher.flush(commits[5:])
    assert outcomes == ["complete"] + ["done"] * (MEMBERS - 6)
    fire = msgspec.structs.replace(commits[5], chord=None, states=(), trigger=Trigger("group", "task_5"))
    assert flusher.flush([fire]) == ["done"]


def test_a_redelivered_member_asks_for_itself(flusher: Flusher, tap: Tap, backend: Backend) -> None:
    """It may have taken the trigger already, in a worker that died before it sent the callback."""
    assert flusher.flush(members(tap, backend, redelivered=1)) == ["complete"] * MEMBERS


@pytest.mark.parametrize(("fresh", "expected"), [(False, SUCCESS), (True, PENDING)])
def test_pending_after_a_redelivered_task(
    fresh: bool, expected: str, flusher: Flusher, tap: Tap, backend: Backend
) -> None:
    """PENDING must not replace the follow-up's result after the first delivery, but may replace an earlier run's."""
    backend.write([TaskState(TaskUUID="after", State=SUCCESS, Results=())])
    tap.publish(QUEUE, signature(QUEUE, 1))
    (message,) = tap.take(1)
    commit = Commit(
        states=(TaskState(TaskUUID="task", State=SUCCESS), TaskState(TaskUUID="after", State=PENDING)),
        settle=Settle(msgspec.structs.replace(message.delivery, redelivered=1)),
        fresh=fresh,
    )
    assert flusher.flush([commit]) == ["done"]
    (state,) = backend.read(["after"])
    assert state is not None
    assert state.State == expected
