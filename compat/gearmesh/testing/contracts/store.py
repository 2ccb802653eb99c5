"""The fixtures of the backend contract, and functions that make states."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import msgspec
import pytest

from gearmesh.interfaces.backend import Backend
from gearmesh.wire.state import PENDING, GroupMeta, TaskResult, TaskState

__all__ = [
    "CREATED",
    "CREATED_EXACTLY",
    "BackendFixtures",
    "OpenBackend",
    "an_int",
    "make_state",
    "race",
    "read_state",
]

R = TypeVar("R")

#: A time that every backend keeps without loss.
CREATED = "2026-01-02T03:04:05.678Z"
#: A time with all the digits that Go writes.
CREATED_EXACTLY = "2026-01-02T03:04:05.678901234Z"


class OpenBackend(Protocol):
    """Opens the tested backend; all calls in one test open the same store."""

    def __call__(self, *, expire: int = 3600) -> Backend: ...


def make_state(uuid: str, state: str = PENDING, **fields: Any) -> TaskState:
    """Make a state; a PENDING state has a name and a time unless ``fields`` replace them."""
    if state == PENDING:
        fields = {"TaskName": "add", "CreatedAt": CREATED} | fields
    return TaskState(TaskUUID=uuid, State=state, **fields)


def an_int(value: int) -> TaskResult:
    """Make an int64 result."""
    return TaskResult(Type="int64", Value=msgspec.Raw(str(value).encode()))


def read_state(backend: Backend, uuid: str) -> TaskState:
    """Read a state; fail if the backend does not have it."""
    (state,) = backend.read([uuid])
    assert state is not None
    return state


def race(racers: int, run: Callable[[int], R]) -> list[R]:
    """Call ``run(0)`` to ``run(racers - 1)`` at the same moment, each in a thread, and return their results.

    Raises the error of a call that failed, and TimeoutError if a call has not ended within a minute.
    """
    start = threading.Barrier(racers)

    def begin(number: int) -> R:
        start.wait(30)
        return run(number)

    with ThreadPoolExecutor(racers) as pool:
        return list(pool.map(begin, range(racers), timeout=60))


class BackendFixtures:
    """Gives the fixtures of the backend contract. A subclass provides :meth:`open_backend`, and sets the attributes
    that differ."""

    #: False for a backend on which Machinery does not copy CreatedAt and TaskName from the stored state.
    merges = True
    #: Number of digits after the seconds that the backend keeps in CreatedAt.
    digits = 9
    #: Bytes of the largest result that the server takes with its settings in the test.
    largest = 2 << 20
    #: Number of members of a large group; set fewer if the server stores new states slowly.
    large = 10_000
    #: Number of states and groups that each of eight threads stores; set fewer if the server is slow.
    each = 50
    #: The optional methods that the backend does not have, of "announcements" (``watch`` returns None), "claims",
    #: "reports" (SupportsProgress), "revocations", "searching" and "yielding" (SupportsConditionalWrite). Their tests
    #: are skipped.
    lacks: frozenset[str] = frozenset()
    #: A short expiry in seconds that lasts for 0.9 s or more, even if the server rounds its clock.
    short_expire = 1
    #: A result that the backend refuses; None: it refuses no result.
    unstorable: TaskResult | None = None

    @pytest.fixture
    def open_backend(self) -> OpenBackend:
        """Return an :class:`OpenBackend` for a store without states."""
        pytest.fail("provide the fixture 'open_backend'")

    @pytest.fixture
    def backend(self, open_backend: OpenBackend) -> Iterator[Backend]:
        """Return a backend that is closed, twice, after the test."""
        backend = open_backend()
        yield backend
        backend.close()
        backend.close()

    @pytest.fixture
    def uuid(self) -> str:
        """Return a task's UUID."""
        return f"task_{uuid4()}"

    def group(self, backend: Backend, members: int) -> GroupMeta:
        """Store a group whose members are PENDING, and return its meta."""
        uuids = tuple(f"task_{uuid4()}" for _ in range(members))
        meta = GroupMeta(GroupUUID=f"group_{uuid4()}", TaskUUIDs=uuids, CreatedAt=CREATED)
        backend.create_group(meta)
        backend.write([make_state(uuid) for uuid in uuids])
        return meta
