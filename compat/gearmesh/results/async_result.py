"""The result of one task (its state and its value), and the base class of all results."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, NoReturn, TypeVar, overload

from gearmesh.declarations.declaration import Declaration
from gearmesh.errors import (
    BackendError,
    ChordMemberFailed,
    GearmeshError,
    ResultTimeout,
    TaskError,
    TaskFailed,
)
from gearmesh.habits import RESULT, REVOKE, WAIT, one_of, refuse, refuse_keywords
from gearmesh.results.client import ResultClient
from gearmesh.results.failures import FailureDetails, read_record
from gearmesh.results.progress import Progress
from gearmesh.results.wait_handle import WaitHandle, atake_steps, take_steps
from gearmesh.units import duration
from gearmesh.wire import types as wire
from gearmesh.wire.names import failure_record
from gearmesh.wire.state import FAILURE, PENDING, STARTED, SUCCESS, TaskState

__all__ = ["AsyncResult", "Result", "Typed", "check_interval"]

T_co = TypeVar("T_co", covariant=True)

#: A call of a task takes longer than these nanoseconds until a worker has run it and announced its end.
FRESH_NS = 500_000

log = logging.getLogger("gearmesh.waiting")

#: A caller logs a warning if no worker has taken its task after these seconds.
PENDING_WARNING_S: Final = 60.0


class Result(ABC, Generic[T_co]):
    """The result of one task or of a workflow. Each subclass names the tasks that end it, and makes its value.

    Attributes:
        app: reads the states; an :class:`~gearmesh.App`.
    """

    app: ResultClient

    @property
    @abstractmethod
    def finals(self) -> Sequence[AsyncResult[Any]]:
        """The tasks whose values make up the value of this result."""

    @property
    def upstream(self) -> Sequence[AsyncResult[Any]]:
        """The tasks that must succeed before ``finals`` can."""
        return ()

    @abstractmethod
    def _value(self) -> T_co:
        """The value, once all of ``finals`` are known to be SUCCESS."""

    # --- looking -------------------------------------------------------------------------------

    @property
    def tasks(self) -> tuple[AsyncResult[Any], ...]:
        """All its tasks, in the order in which the program wrote them."""
        return (*self.upstream, *self.finals)

    @property
    def state(self) -> str:
        """FAILURE once a task has failed, SUCCESS once the value is there, else STARTED or PENDING.

        A workflow is STARTED once one of its tasks has ended.
        """
        self._refresh()
        if any(task._failed for task in self.tasks):
            return FAILURE
        if all(task._succeeded for task in self.finals):
            return SUCCESS
        return STARTED if any(task._final for task in self.tasks) else PENDING

    @property
    def error(self) -> str:
        """The text of the error that ended it; ``""`` if it has not failed (yet)."""
        self._refresh()
        return next((task._final.Error for task in self.tasks if task._final and task._failed), "")

    @property
    def exception_type(self) -> str | None:
        """The class of the exception that ended it, ``KeyError`` or ``shop.errors.OutOfStock``.

        It is None if it has not failed (yet), if the task failed in Go, or if its worker was killed.
        """
        return self._detail("exception_type")

    @property
    def traceback(self) -> str | None:
        """The traceback of the exception that ended it, as the worker's Python printed it.

        It is None if it has not failed (yet), if the task failed in Go, if its worker was killed, or if the setting
        ``store_tracebacks`` is off.
        """
        return self._detail("traceback")

    def _detail(self, name: str) -> str | None:
        failed = self._first_failure() if self.state == FAILURE else None
        return None if failed is None else getattr(failed._failure(), name) or None

    @property
    def status(self) -> str:
        """Celery's other name of :attr:`state`."""
        return self.state

    @property
    def result(self) -> T_co | TaskFailed | None:
        """The value after SUCCESS, the error as an exception after FAILURE, None before."""
        state = self.state
        if state == SUCCESS:
            return self._value()
        failed = self._first_failure() if state == FAILURE else None
        return None if failed is None else failed._failure()

    @property
    def info(self) -> T_co | TaskFailed | None:
        """Celery's other name of :attr:`result`."""
        return self.result

    if not TYPE_CHECKING:  # with __getattr__, a type checker would accept every name

        def __getattr__(self, name: str) -> Any:
            refuse(RESULT, one_of(type(self)), self, name)

    def ready(self) -> bool:
        """True once it has succeeded or failed."""
        return self.state in (SUCCESS, FAILURE)

    def successful(self) -> bool:
        """True once it has succeeded."""
        return self.state == SUCCESS

    def failed(self) -> bool:
        """True once it has failed, or cannot succeed any more."""
        return self.state == FAILURE

    def forget(self) -> None:
        """Remove its states from the backend. A task that has not ended writes its state again."""
        self.app.forget([task.uuid for task in self.tasks])

    def revoke(self, *, terminate: Literal[True] = True, **unknown: NoReturn) -> None:
        """Revoke all its tasks that have not ended; see :meth:`gearmesh.App.revoke`.

        Args:
            terminate: Celery's flag. It can only be True, because the worker interrupts a running task in any case.

        Raises:
            TaskError: ``terminate`` is False.
            BackendError: the backend cannot be reached, or does not keep revocations.
        """
        refuse_keywords(REVOKE, "revoke", unknown)
        if terminate is not True:
            raise TaskError(
                f"revoke: terminate is {terminate!r}, expected True: a running task is interrupted in any case"
            )
        self.app.revoke(*(task.uuid for task in self.tasks if not task._final))

    async def arevoke(self) -> None:
        """:meth:`revoke` without blocking the event loop."""
        await asyncio.to_thread(self.revoke)

    # --- waiting -------------------------------------------------------------------------------

    @overload
    def get(
        self, timeout: float | None = None, interval: float | None = None, *, propagate: Literal[True] = True
    ) -> T_co: ...
    @overload
    def get(self, timeout: float | None = None, interval: float | None = None, *, propagate: bool) -> Any: ...
    def get(
        self,
        timeout: float | None = None,
        interval: float | None = None,
        *,
        propagate: bool = True,
        **unknown: NoReturn,
    ) -> Any:
        """Wait for the value: None for a task that returns nothing, a tuple for several results.

        Args:
            timeout: seconds; None waits without limit, zero reads the backend once.
            interval: seconds between two reads of the backend; None: 1 ms at first, then longer with the time waited,
                up to 500 ms.
            propagate: False returns the TaskFailed of a failure instead of raising it. A group's result then waits for
                all members, and its list has a TaskFailed in the place of each failed member.

        Raises:
            TaskFailed: it failed; ChordMemberFailed if a chord's member did.
            ResultTimeout: the task has not ended in time.
            NoBackend: the app keeps no results.
            RemoteProtocolError: the stored result cannot be read.
        """
        refuse_keywords(WAIT, "get", unknown)
        if not propagate:
            return self._unraised(timeout, interval)
        self._wait(timeout, interval)
        return self._outcome()

    def wait(self, timeout: float | None = None, interval: float | None = None) -> str:
        """Wait as :meth:`get` does, but return SUCCESS or FAILURE, and do not raise for a failure."""
        self._wait(timeout, interval)
        return FAILURE if self._first_failure() else SUCCESS

    async def aget(self, timeout: float | None = None, interval: float | None = None) -> T_co:
        """Do the same as :meth:`get` without blocking the event loop. ``await result`` waits without a timeout."""
        await self._await(timeout, interval)
        failed = self._first_failure()
        if failed is not None and not failed._details_read:
            await asyncio.to_thread(failed._read_details)
        return self._outcome()

    async def await_(self, timeout: float | None = None, interval: float | None = None) -> str:
        """:meth:`wait` without blocking the event loop."""
        await self._await(timeout, interval)
        return FAILURE if self._first_failure() else SUCCESS

    def __await__(self) -> Generator[Any, None, T_co]:
        return self.aget().__await__()

    def _first_failure(self) -> AsyncResult[Any] | None:
        if all(task._succeeded for task in self.finals):
            return None
        return next((task for task in self.tasks if task._failed), None)

    def _unraised(self, timeout: float | None, interval: float | None) -> Any:
        """:meth:`get` without an error for a failure."""
        self._wait(timeout, interval)
        return self._value_or_error()

    def _value_or_error(self) -> T_co | TaskFailed:
        """The value, or the error of a failure, of a result that has ended."""
        failed = self._first_failure()
        return self._value() if failed is None else failed._failure()

    def _outcome(self) -> T_co:
        failed = self._first_failure()
        if failed is not None:
            raise failed._failure()
        return self._value()

    def _settled(self) -> bool:
        return all(task._succeeded for task in self.finals) or any(task._failed for task in self.tasks)

    def _wait(self, timeout: float | None, interval: float | None) -> None:
        for _ in take_steps(partial(self._steps, timeout, interval)):
            pass

    async def _await(self, timeout: float | None, interval: float | None) -> None:
        async for _ in atake_steps(partial(self._steps, timeout, interval)):
            pass

    def _steps(
        self, timeout: float | None, interval: float | None, notify: Callable[[], object]
    ) -> Generator[Any, None, None]:
        """Wait until it has ended; a generator of steps, see :data:`~.wait_handle.Steps`."""
        check_interval(interval)
        self.app.require_results()
        if self._settled():
            return
        handle = WaitHandle(
            [task.uuid for task in self.finals if not task._final],
            [task.uuid for task in self.upstream if not task._final],
            interval=interval,
            notify=notify,
        )
        poller = self.app.result_poller
        if timeout is not None and timeout <= 0:
            yield partial(poller.look, handle)
        else:
            poller.add(handle, fresh=len(self.tasks) == 1 and self.tasks[0]._fresh)
            try:
                yield from self._pauses(handle, timeout)
            finally:
                poller.remove(handle)
        self._learn(handle, timeout)

    def _pauses(self, handle: WaitHandle, timeout: float | None) -> Iterator[Any]:
        """Yield pauses until the handle or the time is over, and once a call that logs a task that no worker takes."""
        now = time.monotonic()
        deadline = math.inf if timeout is None else now + timeout
        warn_at = now + PENDING_WARNING_S
        while not handle.over and now < deadline:
            if now >= warn_at:
                warn_at = math.inf
                yield partial(self._warn_if_pending, handle)
            else:
                pause = min(deadline, warn_at) - now
                yield pause if pause < math.inf else None
            now = time.monotonic()

    def _learn(self, handle: WaitHandle, timeout: float | None) -> None:
        left = () if handle.over else handle.uuids()  # read before ``found``, which may grow
        known = {state.TaskUUID: state for state in handle.found}
        for task in self.tasks:
            task._final = known.get(task.uuid, task._final)
        if handle.error is not None:
            raise handle.error
        if left:
            self._raise_timeout(left, timeout, handle.trouble)

    def _warn_if_pending(self, handle: WaitHandle) -> None:
        """Log that no worker has taken the task that the caller waits for: perhaps no worker has registered it."""
        left = set(handle.uuids())
        missing = next((task for task in self.tasks if task.uuid in left), None)
        if missing is None:
            return
        try:
            (state,) = self.app.states([missing.uuid])
        except GearmeshError:
            return  # the poller logs that the backend is unreachable
        if state is None or state.State == PENDING:
            log.warning(
                "task %s (%s) is PENDING after %s: no worker has begun it. "
                "Does a worker run that reads its queue and has registered it? 'gearmesh result %s' finds out why",
                missing.name or "?",
                missing.uuid,
                duration(PENDING_WARNING_S),
                missing.uuid,
            )

    def _raise_timeout(self, left: Collection[str], timeout: float | None, trouble: str) -> NoReturn:
        """Raise ResultTimeout for the tasks that are ``left``; ``trouble``: the backend's connection error or ""."""
        left = set(left)
        missing = [task for task in self.tasks if task.uuid in left]
        what = f"task {missing[0].name or '?'} ({missing[0].uuid})"
        if len(self.tasks) > 1:
            what += f" and {len(missing) - 1} more of {len(self.tasks)}"
        away = (
            f"; the result backend {self.app.masked_backend} cannot be reached: {trouble}" if trouble else ""
        )
        raise ResultTimeout(f"{what}: no final state in {timeout:g} s{away}")

    def _refresh(self) -> None:
        unknown = {task.uuid: task for task in self.tasks if not task._final}
        if not unknown:
            return
        self.app.require_results()
        for state in self.app.states(list(unknown)):
            if state is not None and state.TaskUUID in unknown:
                unknown[state.TaskUUID]._see(state)


class Typed(NamedTuple):
    """A value and the name of its Go type."""

    type: str
    value: Any


class AsyncResult(Result[T_co]):
    """Reads the state of one task, and waits for its result.

    Args:
        uuid: the task's id.
        app: the app that reads its state.
        declaration: the types of its results; None: the declaration of the app's task of that name.
        name: the task's name, if it is known.
        in_chord: True if its failure ends a chord.
        sent_ns: when this process began to send the task (unix ns); 0: another process sent it, or the time is unknown.

    Attributes:
        name: the task's name; ``""`` if it is not known.
    """

    def __init__(
        self,
        uuid: str,
        app: ResultClient | None = None,
        declaration: Declaration | None = None,
        *,
        name: str = "",
        in_chord: bool = False,
        sent_ns: int = 0,
    ) -> None:
        if app is None:
            raise TaskError(f"AsyncResult({uuid!r}) has no app: use app.AsyncResult(uuid)")
        self.uuid = uuid
        self.app = app
        self.name = name or (declaration.name if declaration else "")
        self._declaration = declaration
        self._in_chord = in_chord
        self._sent_ns = sent_ns
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
        """PENDING, RECEIVED, STARTED, RETRY, SUCCESS or FAILURE. If no state is stored, it is PENDING."""
        self._refresh()
        return self._final.State if self._final else self._state

    @property
    def results(self) -> tuple[Typed, ...] | None:
        """The returned values, each with its Go type; None before SUCCESS."""
        self._refresh()
        if self._final is None or self._final.Results is None:
            return None
        return tuple(Typed(r.Type, wire.load(r.Type, r.Value)) for r in self._final.Results)

    @property
    def progress(self) -> Progress | None:
        """The last report of ``current().progress(…)`` in the task.

        It is None if there is no report, or if the backend cannot keep reports.

        Raises:
            BackendError: the backend cannot be reached.
        """
        return self.app.reports((self.uuid,))[0]

    @property
    def _fresh(self) -> bool:
        """True if this process began to send the task so recently that a worker can hardly have run it."""
        return 0 <= time.time_ns() - self._sent_ns < FRESH_NS

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
        declaration = self._declaration or self.app.declaration_of(self.name or self._final.TaskName)
        value: T_co = declaration.load_results(results)
        return value

    def _read_details(self) -> None:
        """Read the failure's record, unless it was read before. A failure in Go has none. If the backend does not
        answer, do not raise, and read again next time."""
        if self._details_read or not self._failed:
            return
        assert self._final is not None
        with suppress(BackendError):
            (record,) = self.app.states((failure_record(self.uuid),))
            self._details_read = True
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
        failed.__cause__ = self.app.exception_of(self.uuid)
        return failed


def check_interval(interval: float | None) -> None:
    """Check the seconds between two reads. Refuse a bool: Celery's second argument of ``get`` is ``propagate``.

    Raises:
        TaskError: ``interval`` is a bool, no number, or below 0.
    """
    if interval is None:
        return
    if isinstance(interval, bool) or not isinstance(interval, (int, float)) or not interval >= 0:
        hint = f"; write get(timeout, propagate={interval})" if isinstance(interval, bool) else ""
        raise TaskError(f"interval is {interval!r:.80}, expected seconds, 0 or more{hint}")
