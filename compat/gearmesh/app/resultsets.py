"""Results of several tasks: chains, groups and chords."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gearmesh.app.completion import Completion
from gearmesh.app.results import AsyncResult, Result
from gearmesh.wire.state import FAILURE, SUCCESS

if TYPE_CHECKING:
    from gearmesh.app.app import App

__all__ = ["ChainResult", "ChordResult", "Completion", "GroupResult", "ResultSet"]


class ResultSet(Result[Any]):
    """Several results.

    Attributes:
        results: its members, in the order in which they were written.
    """

    def __init__(self, results: Sequence[Result[Any]], app: App) -> None:
        self.results = tuple(results)
        self.app = app

    def __len__(self) -> int:
        return len(self.results)

    @property
    def children(self) -> tuple[Result[Any], ...]:
        """Celery's name of :attr:`results`."""
        return self.results

    def join(self, timeout: float | None = None, interval: float | None = None) -> Any:
        """Celery's other name of :meth:`get`."""
        return self.get(timeout, interval)

    def __getitem__(self, index: int) -> Result[Any]:
        return self.results[index]

    def __iter__(self) -> Iterator[Result[Any]]:
        return iter(self.as_completed())

    def __aiter__(self) -> AsyncIterator[Result[Any]]:
        return aiter(self.as_completed())

    def as_completed(self, timeout: float | None = None, interval: float | None = None) -> Completion:
        """Its members in the order in which they end, for ``for`` and for ``async for``.

        A failed one is among them: its ``get()`` raises. Raises ResultTimeout when ``timeout``
        seconds are over and members are missing.
        """
        return Completion(self, timeout, interval)

    @property
    def tasks(self) -> tuple[AsyncResult[Any], ...]:
        return tuple(task for result in self.results for task in result.tasks)

    @property
    def states(self) -> list[str]:
        """The members' states, in order."""
        self._refresh()
        return [
            r._final.State if isinstance(r, AsyncResult) and r._final else _state_of(r) for r in self.results
        ]

    @property
    def completed_count(self) -> int:
        """How many members have succeeded or failed."""
        return sum(state in (SUCCESS, FAILURE) for state in self.states)


class GroupResult(ResultSet):
    """The results of a group; ``get()`` gives a list, in the members' order.

    Attributes:
        uuid: the group's id.
    """

    def __init__(self, uuid: str, results: Sequence[Result[Any]], app: App) -> None:
        super().__init__(results, app)
        self.uuid = uuid

    @property
    def id(self) -> str:
        """Celery's name of :attr:`uuid`."""
        return self.uuid

    def __repr__(self) -> str:
        return f"<GroupResult {self.uuid} of {len(self.results)}>"

    @property
    def finals(self) -> Sequence[AsyncResult[Any]]:
        return [task for result in self.results for task in result.finals]

    @property
    def upstream(self) -> Sequence[AsyncResult[Any]]:
        return [task for result in self.results for task in result.upstream]

    def _value(self) -> list[Any]:
        return [result._value() for result in self.results]


class ChainResult(ResultSet):
    """The results of a chain's steps; ``get()`` gives the last one's, or raises what ended the chain."""

    def __repr__(self) -> str:
        return f"<ChainResult of {len(self.results)}, last {self.results[-1]!r}>"

    @property
    def finals(self) -> Sequence[AsyncResult[Any]]:
        return self.results[-1].finals

    @property
    def upstream(self) -> Sequence[AsyncResult[Any]]:
        before = [task for result in self.results[:-1] for task in result.tasks]
        return [*before, *self.results[-1].upstream]

    def _value(self) -> Any:
        return self.results[-1]._value()


class ChordResult(ResultSet):
    """The result of a chord's body; ``get()`` raises ChordMemberFailed as soon as a member has failed.

    Go: a caller of Machinery's gets nothing and no error there.

    Attributes:
        header: the members' results. body: the body's. ``results`` are the members.
    """

    def __init__(self, header: GroupResult, body: Result[Any], app: App) -> None:
        super().__init__(header.results, app)
        self.header = header
        self.body = body

    def __repr__(self) -> str:
        return f"<ChordResult {self.header.uuid} of {len(self.results)}, body {self.body!r}>"

    @property
    def uuid(self) -> str:
        """The header's group id."""
        return self.header.uuid

    @property
    def finals(self) -> Sequence[AsyncResult[Any]]:
        return self.body.finals

    @property
    def upstream(self) -> Sequence[AsyncResult[Any]]:
        return [*self.header.tasks, *self.body.upstream]

    @property
    def tasks(self) -> tuple[AsyncResult[Any], ...]:
        return (*self.header.tasks, *self.body.tasks)

    def _value(self) -> Any:
        return self.body._value()


def _state_of(result: Result[Any]) -> str:
    """A member's state from what was just read."""
    if isinstance(result, AsyncResult):
        return result._final.State if result._final else result._state
    if result._settled():
        return FAILURE if result._first_failure() else SUCCESS
    return next((task._state for task in result.tasks if not task._final), "PENDING")
