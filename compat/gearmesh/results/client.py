"""The part of an app that its results use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from gearmesh.declarations.declaration import Declaration
from gearmesh.results.poller import ResultPoller
from gearmesh.results.progress import Progress
from gearmesh.wire.state import TaskState

__all__ = ["ResultClient"]


class ResultClient(Protocol):
    """Reads and removes states, waits for them, and knows the types of results. An app is one."""

    @property
    def masked_backend(self) -> str:
        """The URL of the result backend, without its password."""

    @property
    def result_poller(self) -> ResultPoller:
        """The thread of this process that asks for the states that callers wait for."""

    def require_results(self) -> None:
        """Raise NoBackend if the app keeps no results."""

    def states(self, uuids: Sequence[str]) -> list[TaskState | None]:
        """Read the states of these UUIDs, in their order; None where none is stored.

        Raises:
            BackendError: the backend cannot be reached, or refuses.
        """

    def reports(self, uuids: Sequence[str]) -> list[Progress | None]:
        """Read the last progress of these UUIDs, in their order; None where none is stored."""

    def forget(self, uuids: Sequence[str]) -> None:
        """Remove the states of these UUIDs."""

    def revoke(self, *uuids: str) -> None:
        """Tell workers not to start these tasks, and to end them if they run."""

    def declaration_of(self, name: str) -> Declaration:
        """The declaration that says how to read a task's results; for an unknown task, one that takes all types."""

    def exception_of(self, uuid: str) -> BaseException | None:
        """The exception with which a task failed in this process; None: it ran elsewhere, or did not fail."""

    def GroupResult(self, uuid: str) -> Any:  # noqa: N802 - Celery's name
        """The result of a group by its UUID. Raises TaskError if no group of that UUID is stored (any more)."""
