"""Asks the result backend for the dashboard, and keeps each answer for a second."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Final, TypeVar

from gearmesh.app.app import App
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.listing import SupportsStateWalk
from gearmesh.results.failures import FailureDetails, read_record
from gearmesh.results.progress import Progress
from gearmesh.urls import scheme_of
from gearmesh.web.cache import AnswerCache
from gearmesh.wire.names import failure_record
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["StateReader"]

T = TypeVar("T")

_NAMES: Final = {
    "redis": "Redis",
    "rediss": "Redis",
    "amqp": "RabbitMQ",
    "amqps": "RabbitMQ",
    "mongodb": "MongoDB",
    "memcache": "Memcache",
    "dynamodb": "DynamoDB",
    "memory": "the memory of this process",
    "eager": "the memory of this process",
}


class StateReader:
    """Reads states and groups from the result backend of an app, for the pages. Safe in threads.

    Args:
        app: the app that names the backend.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._cache = AnswerCache()

    @property
    def address(self) -> str:
        """The backend's URL without its password."""
        return self._app.masked_backend

    @property
    def name(self) -> str:
        """The backend's name for people."""
        scheme = scheme_of(self._app.config.backend, "backend").split("+")[0]
        return _NAMES.get(scheme, scheme)

    @property
    def keeps(self) -> bool:
        """False if the backend keeps no results."""
        return self._app.keeps_results

    @property
    def walks(self) -> bool:
        """True if the backend can list all its states."""
        return isinstance(self._app.backend, SupportsStateWalk)

    @property
    def peeks_cheaply(self) -> bool:
        """False if each state is a queue (RabbitMQ) or there are none, so that lists go without states."""
        return self.keeps and not scheme_of(self._app.config.backend, "backend").startswith("amqp")

    def ask(self, key: Hashable, question: Callable[[Backend], T]) -> T:
        """Return the answer kept under ``key``, or ask; it is at most a second old. Raises BackendError."""

        def asked() -> T:
            with self._app.reached_backend() as backend:
                return question(backend)

        return self._cache.get(key, asked)

    def states(self, uuids: Sequence[str]) -> dict[str, TaskState]:
        """Read the states of tasks, by UUID, without the tasks that have none. Raises BackendError."""
        wanted = tuple(dict.fromkeys(filter(None, uuids)))
        if not wanted or not self.keeps:
            return {}
        found = self.ask(("states", wanted), lambda backend: backend.read(wanted))
        return {uuid: state for uuid, state in zip(wanted, found, strict=True) if state is not None}

    def listed(self, uuids: Sequence[str]) -> dict[str, TaskState]:
        """Do as :meth:`states`, for a list; empty if the backend would need a round trip for each row."""
        return self.states(uuids) if self.peeks_cheaply else {}

    def failure(self, state: TaskState) -> FailureDetails | None:
        """The exception's type and traceback of a failed task; None if no Python worker has stored them."""
        if not state.Error:
            return None
        uuid = failure_record(state.TaskUUID)
        return read_record(self.states([uuid]).get(uuid), state.Error)

    def failures(self, states: Sequence[TaskState]) -> dict[str, FailureDetails]:
        """Read the details of several failed tasks, by UUID, in one round trip; see :meth:`failure`."""
        names = {state.TaskUUID: failure_record(state.TaskUUID) for state in states if state.Error}
        records = self.listed(list(names.values()))
        read = {
            state.TaskUUID: read_record(records.get(names[state.TaskUUID]), state.Error)
            for state in states
            if state.TaskUUID in names
        }
        return {uuid: details for uuid, details in read.items() if details is not None}

    def progress(self, uuid: str) -> Progress | None:
        """The last progress report of a task; None if there is none."""
        return self.ask(("progress", uuid), lambda backend: self._app.progress.read([uuid]))[0]

    def group(self, uuid: str) -> GroupMeta | None:
        """A group's meta; None if it does not exist."""
        if not self.keeps:
            return None
        return self.ask(("group", uuid), lambda backend: backend.read_group(uuid))

    def clear(self) -> None:
        """Forget all answers, after an action has changed something."""
        self._cache.clear()
