"""Results of several tasks: chains, groups and chords."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

from gearmesh.errors import TaskError, TaskFailed
from gearmesh.results.as_completed import AsCompleted
from gearmesh.results.async_result import AsyncResult, Result
from gearmesh.results.client import ResultClient
from gearmesh.wire.state import FAILURE, SUCCESS

__all__ = ["AsCompleted", "ChainResult", "ChordResult", "GroupResult", "ResultSet"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
#: The type of a member's value.
M_co = TypeVar("M_co", covariant=True)


class ResultSet(Result[T_co], Generic[T_co, M_co]):
    """Waits for several results together.

    Attributes:
        results: its members, in the order in which they were written.
    """

    def __init__(self, results: Sequence[Result[M_co]], app: ResultClient) -> None:
        self.results = tuple(results)
        self.app = app

    join = Result.get  # Celery's name of ``get`` for several results

    def __len__(self) -> int:
        return len(self.results)

    @property
    def children(self) -> tuple[Result[M_co], ...]:
        """Celery's name of :attr:`results`."""
        return self.results

    def __getitem__(self, index: int) -> Result[M_co]:
        return self.results[index]

    def __iter__(self) -> Iterator[Result[M_co]]:
        return iter(self.as_completed())

    def __aiter__(self) -> AsyncIterator[Result[M_co]]:
        return aiter(self.as_completed())

    def as_completed(self, timeout: float | None = None, interval: float | None = None) -> AsCompleted[M_co]:
        """Its members in the order in which they end, for ``for`` and for ``async for``.

        Failed members are among them: their ``get()`` raises. Raises ResultTimeout if members are missing after
        ``timeout`` seconds.
        """
        return AsCompleted(self, self.results, timeout, interval)

    def iterate(self, timeout: float | None = None, interval: float | None = None) -> Iterator[M_co]:
        """The members' values in the order in which they end; the first failed member raises.

        Raises: as :meth:`get`.
        """
        for member in self.as_completed(timeout, interval):
            yield member._outcome()

    def collect(
        self, timeout: float | None = None, interval: float | None = None
    ) -> Iterator[tuple[Result[M_co], M_co]]:
        """Each member with its value, in the order in which they end; the first failed member raises.

        Celery's ``collect`` also yields tasks that the members have started; Machinery's states do not name those.

        Raises: as :meth:`get`.
        """
        for member in self.as_completed(timeout, interval):
            yield member, member._outcome()

    @cached_property
    def tasks(self) -> tuple[AsyncResult[Any], ...]:
        return tuple(task for result in self.results for task in result.tasks)

    @property
    def states(self) -> list[str]:
        """The members' states, in order."""
        self._refresh()
        return [_state_of(result) for result in self.results]

    @property
    def completed_count(self) -> int:
        """The number of members that have succeeded or failed."""
        return sum(state in (SUCCESS, FAILURE) for state in self.states)


class GroupResult(ResultSet[list[T], T]):
    """The results of a group; ``get()`` gives a list, in the members' order.

    Attributes:
        uuid: the group's id.
    """

    def __init__(self, uuid: str, results: Sequence[Result[T]], app: ResultClient) -> None:
        super().__init__(results, app)
        self.uuid = uuid

    @classmethod
    def restore(cls, id: str, app: ResultClient | None = None) -> GroupResult[Any]:
        """The same as :meth:`App.GroupResult <gearmesh.App.GroupResult>`, under Celery's name.

        Raises:
            TaskError: there is no ``app``, or no group of that UUID is stored (any more).
        """
        if app is None:
            raise TaskError(f"GroupResult.restore({id!r}) has no app: use app.GroupResult(uuid)")
        found: GroupResult[Any] = app.GroupResult(id)
        return found

    @property
    def id(self) -> str:
        """Celery's name of :attr:`uuid`."""
        return self.uuid

    def __repr__(self) -> str:
        return f"<GroupResult {self.uuid} of {len(self.results)}>"

    if TYPE_CHECKING:

        @overload
        def get(
            self,
            timeout: float | None = ...,
            interval: float | None = ...,
            *,
            propagate: Literal[True] = True,
        ) -> list[T]: ...
        @overload
        def get(
            self, timeout: float | None = ..., interval: float | None = ..., *, propagate: bool
        ) -> list[T | TaskFailed]: ...
        def get(self, *args: Any, **kwargs: Any) -> Any: ...

        join = get

    def _unraised(self, timeout: float | None, interval: float | None) -> list[T | TaskFailed]:
        for _ in self.as_completed(timeout, interval):
            pass
        return [member._value_or_error() for member in self.results]

    @property
    def finals(self) -> Sequence[AsyncResult[Any]]:
        return [task for result in self.results for task in result.finals]

    @property
    def upstream(self) -> Sequence[AsyncResult[Any]]:
        return [task for result in self.results for task in result.upstream]

    def _value(self) -> list[T]:
        return [result._value() for result in self.results]


class ChainResult(ResultSet[T_co, Any]):
    """The results of a chain's steps; ``get()`` returns the last step's value, or raises the chain's error."""

    def __repr__(self) -> str:
        return f"<ChainResult of {len(self.results)}, last {self.results[-1]!r}>"

    @property
    def id(self) -> str:
        """The id of the last step, as in Celery. It is the id of a task or of a group."""
        return cast("AsyncResult[Any] | GroupResult[Any]", self.results[-1]).id

    @property
    def finals(self) -> Sequence[AsyncResult[Any]]:
        return self.results[-1].finals

    @property
    def upstream(self) -> Sequence[AsyncResult[Any]]:
        before = [task for result in self.results[:-1] for task in result.tasks]
        return [*before, *self.results[-1].upstream]

    def _value(self) -> T_co:
        value: T_co = self.results[-1]._value()
        return value


class ChordResult(ResultSet[T_co, Any]):
    """The result of a chord's body; ``get()`` raises ChordMemberFailed as soon as a member has failed.

    In this case, ``Get`` in Go returns the member's error, and ``GetWithTimeout`` neither a value nor an error.

    Attributes:
        header: the results of the members, as one group.
        body: the result of the body.
        results: the results of the members, one by one.
    """

    def __init__(self, header: GroupResult[Any], body: Result[T_co], app: ResultClient) -> None:
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
    def id(self) -> str:
        """The id of the body, as in Celery; :attr:`uuid` is the header's."""
        return cast("AsyncResult[Any] | GroupResult[Any]", self.body).id

    @property
    def parent(self) -> GroupResult[Any]:
        """Celery's name of :attr:`header`."""
        return self.header

    @property
    def finals(self) -> Sequence[AsyncResult[Any]]:
        return self.body.finals

    @property
    def upstream(self) -> Sequence[AsyncResult[Any]]:
        return [*self.header.tasks, *self.body.upstream]

    @cached_property
    def tasks(self) -> tuple[AsyncResult[Any], ...]:
        return (*self.header.tasks, *self.body.tasks)

    def _value(self) -> T_co:
        return self.body._value()


def _state_of(result: Result[Any]) -> str:
    """A member's state, from the task states that were just read."""
    if isinstance(result, AsyncResult):
        return result._final.State if result._final else result._state
    if result._settled():
        return FAILURE if result._first_failure() else SUCCESS
    return next((task._state for task in result.tasks if not task._final), "PENDING")
