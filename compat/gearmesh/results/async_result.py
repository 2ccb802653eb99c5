"""The result of one task: its state, and its value."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, TypeVar, overload

from gearmesh.app.failures import FailureDetails, read_record
from gearmesh.errors import BackendError, ChordMemberFailed, TaskError, TaskFailed
from gearmesh.results.base import Result
from gearmesh.wire import types as wire
from gearmesh.wire.names import failure_record
from gearmesh.wire.state import FAILURE, PENDING, SUCCESS, TaskState

if TYPE_CHECKING:
    from gearmesh.app.app import App
    from gearmesh.app.progress import Progress
    from gearmesh.declarations.declaration import Declaration

__all__ = ["AsyncResult", "Result", "Typed"]

T_co = TypeVar("T_co", covariant=True)


class Typed(NamedTuple):
    """One returned value with the Go type it was stored as."""

    type: str
    value: Any


class AsyncResult(Result[T_co]):
    """The result of one task.

    Args:
        uuid: the task's id.
        app: where its state is kept.
        declaration: how its results are typed; None: as the app's task of that name says.
        name: the task's, where it is known.
        in_chord: its failure ends a chord.

    Attributes:
        name: the task's name; ``""`` where it is not known.
    """

    def __init__(
        self,
        uuid: str,
        app: App | None = None,
        declaration: Declaration | None = None,
        *,
        name: str = "",
        in_chord: bool = False,
    ) -> None:
        if app is None:
            raise TaskError(f"AsyncResult({uuid!r}) has no app: use app.AsyncResult(uuid)")
        self.uuid = uuid
        self.app = app
        self.name = name or (declaration.name if declaration else "")
        self._declaration = declaration
        self._in_chord = in_chord
        self._final: TaskState | None = None
        self._state = PENDING
        self._details: FailureDetails | None = None
        self._details_read = False

    def __repr__(self) -> str:
        return f"<AsyncResult {self.name or 'task'} {self.uuid}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncResult) and other.uuid == self.uuid

    def __hash__(self) -> int:
        return hash(self.uuid)

    if TYPE_CHECKING:

        @overload
        def get(
            self,
            timeout: float | None = ...,
            interval: float | None = ...,
            *,
            propagate: Literal[True] = True,
        ) -> T_co: ...
        @overload
        def get(
            self, timeout: float | None = ..., interval: float | None = ..., *, propagate: bool
        ) -> T_co | TaskFailed: ...
        def get(self, *args: Any, **kwargs: Any) -> Any: ...

    @property
    def id(self) -> str:
        """Celery's name of :attr:`uuid`."""
        return self.uuid

    @property
    def task_id(self) -> str:
        """Celery's other name of :attr:`uuid`."""
        return self.uuid

    @property
    def finals(self) -> Sequence[AsyncResult[Any]]:
        return (self,)

    @property
    def state(self) -> str:
        """PENDING, RECEIVED, STARTED, RETRY, SUCCESS or FAILURE; PENDING too where nothing is stored."""
        self._refresh()
        return self._final.State if self._final else self._state

    @property
    def results(self) -> tuple[Typed, ...] | None:
        """What it returned, each with its Go type; None before SUCCESS."""
        self._refresh()
        if self._final is None or self._final.Results is None:
            return None
        return tuple(Typed(r.Type, wire.load(r.Type, r.Value)) for r in self._final.Results)

    @property
    def progress(self) -> Progress | None:
        """What the task last told by ``current().progress(…)``; None: nothing, or the backend can't keep it.

        Raises:
            BackendError: the backend cannot be reached.
        """
        return self.app.reports((self.uuid,))[0]

    @property
    def _succeeded(self) -> bool:
        return self._final is not None and self._final.State == SUCCESS

    @property
    def _failed(self) -> bool:
        return self._final is not None and self._final.State == FAILURE

    def _see(self, state: TaskState) -> None:
        if state.final:
            self._final = state
        self._state = state.State

    def _value(self) -> T_co:
        assert self._final is not None
        results = self._final.Results
        declaration = self._declaration or self.app._declaration_of(self.name or self._final.TaskName)
        value: T_co = declaration.load_results(results)
        return value

    def _read_details(self) -> None:
        """Read the failure's record once. It is not there for a failure in Go, and is no reason to raise."""
        if self._details_read or not self._failed:
            return
        assert self._final is not None
        self._details_read = True
        with suppress(BackendError):
            (record,) = self.app.states((failure_record(self.uuid),))
            self._details = read_record(record, self._final.Error)

    def _failure(self) -> TaskFailed:
        assert self._final is not None
        self._read_details()
        kind = ChordMemberFailed if self._in_chord else TaskFailed
        found = self._details
        failed = kind(
            self.uuid,
            self._final.Error,
            self.name or self._final.TaskName,
            exception_type="" if found is None else found.exception_type,
            traceback="" if found is None else found.traceback,
        )
        failed.__cause__ = self.app._outbox.exception_of(self.uuid)
        return failed

    def _raise(self) -> NoReturn:
        raise self._failure()
