"""What the backend contracts share: their fixtures, and states to write."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol
from uuid import uuid4

import msgspec
import pytest

from gearmesh.interfaces.backend import Backend
from gearmesh.wire.state import PENDING, GroupMeta, TaskResult, TaskState

__all__ = ["CREATED", "CREATED_EXACTLY", "BackendFixtures", "OpenBackend", "an_int", "make_state", "run_all"]

#: A time that every backend can keep.
CREATED = "2026-01-02T03:04:05.678Z"
#: One that has all the digits Go gives it.
CREATED_EXACTLY = "2026-01-02T03:04:05.678901234Z"


class OpenBackend(Protocol):
    """Opens the backend under test, on the same store for each call in one test."""

    def __call__(self, *, expire: int = 3600) -> Backend: ...


def make_state(uuid: str, state: str = PENDING, **fields: Any) -> TaskState:
    """A state; a PENDING one has a name and a time unless ``fields`` say otherwise."""
    if state == PENDING:
        fields = {"TaskName": "add", "CreatedAt": CREATED} | fields
    return TaskState(TaskUUID=uuid, State=state, **fields)


def an_int(value: int) -> TaskResult:
    """An int64 result."""
    return TaskResult(Type="int64", Value=msgspec.Raw(str(value).encode()))


def run_all(threads: Sequence[threading.Thread]) -> None:
    """Start the threads and see them all end."""
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


class BackendFixtures:
    """Fixtures of the backend contracts. A subclass provides :meth:`open_backend`."""

    #: False for a backend on which Machinery does not carry CreatedAt and TaskName over.
    merges = True
    #: Digits of a second's fraction that CreatedAt keeps.
    digits = 9
    #: Bytes of a result that the server takes as it is set up here.
    largest = 2 << 20
    #: Members of a large group: fewer where the server takes long to make room for a state.
    large = 10_000
    #: States and groups of each thread where eight are at it; fewer for the same reason.
    each = 50
    #: What the backend does not do: of "announcements", "claims", "reports", "revocations", "yielding". Their tests are
    #: skipped.
    lacks: frozenset[str] = frozenset()
    #: A result that the backend can't keep; None: it keeps them all.
    unstorable: TaskResult | None = None

    @pytest.fixture
    def open_backend(self) -> OpenBackend:
        """An :class:`OpenBackend` for a store without states."""
        raise NotImplementedError("provide the fixture 'open_backend'")

    @pytest.fixture
    def backend(self, open_backend: OpenBackend) -> Iterator[Backend]:
        """One that is closed at the end."""
        backend = open_backend()
        yield backend
        backend.close()
        backend.close()

    @pytest.fixture
    def uuid(self) -> str:
        """A task's UUID."""
        return f"task_{uuid4()}"

    def group(self, backend: Backend, members: int) -> GroupMeta:
        """A stored group, all its members PENDING."""
        uuids = tuple(f"task_{uuid4()}" for _ in range(members))
        meta = GroupMeta(GroupUUID=f"group_{uuid4()}", TaskUUIDs=uuids, CreatedAt=CREATED)
        backend.create_group(meta)
        backend.write([make_state(uuid) for uuid in uuids])
        return meta
