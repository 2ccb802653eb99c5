"""A task: a function that can also be sent to workers, or the name of a task that only another program runs."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar, cast, overload

from gearmesh.app.canvas import Group, Node, TaskSignature, group
from gearmesh.app.capabilities import TaskOwner
from gearmesh.app.context import RUNNING, TaskContext
from gearmesh.app.options import NOTHING, Options
from gearmesh.errors import RetryRequested, TaskError
from gearmesh.habits import TASK, refuse
from gearmesh.results.async_result import AsyncResult
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import TaskResult
from gearmesh.wire.template import SignatureTemplate

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gearmesh.app.arity import Takes1, Takes2, Takes3, Takes4
    from gearmesh.app.options import OptionSet
    from gearmesh.app.retry import Retry
    from gearmesh.declarations.declaration import Declaration

__all__ = ["Task", "signature"]

P = ParamSpec("P")
#: The type of the task's value.
R = TypeVar("R")
#: The type of a call of the function: R, or an awaitable of it.
C = TypeVar("C")
#: The types of the first parameters.
T = TypeVar("T")
N = TypeVar("N", bound="Node[Any]")
A0 = TypeVar("A0")
A1 = TypeVar("A1")
A2 = TypeVar("A2")
A3 = TypeVar("A3")


class Task(Generic[P, R, C]):
    """A function that workers run by its name; ``@app.task`` and ``app.remote`` make it.

    Attributes:
        name: the task's name on the wire.
        app: the app it belongs to. A task of ``@gearmesh.task`` gets it later, from ``App(include=…)``.
        fn: the function as workers call it; None for a remote task.
        retry_policy: which of its failures are tried again, and when. None: all of them, with Fibonacci pauses, as in
            Go.
        soft_limit: seconds after which its worker interrupts it; None: the worker's default; 0: never.
        hard_limit: seconds after which its process is killed; None: the worker's default.
        pause: seconds between the starts of two runs, from its ``rate``. On Redis this holds for all workers of a queue
            together, elsewhere for each process. None: no limit.
        unique_for: seconds for which the same call is not queued again; None: every call is queued.
    """

    def __init__(
        self,
        app: TaskOwner | None,
        fn: Callable[P, C] | None,
        declaration: Declaration,
        options: Options = NOTHING,
        *,
        retry: Retry | None = None,
        soft_limit: float | None = None,
        hard_limit: float | None = None,
        pause: float | None = None,
        unique_for: float | None = None,
        bind: bool = False,
    ) -> None:
        if fn is not None:
            functools.update_wrapper(self, fn)
        if app is not None:
            self.app = app
        #: declared without an app
        self.late = app is None
        #: The function's first parameter is the task.
        self.bound = bind
        #: the function that was decorated
        self.plain = fn
        self.fn: Callable[..., C] | None = functools.partial(fn, self) if bind and fn is not None else fn  # type: ignore[arg-type]
        self.name = declaration.name
        #: The function is a coroutine function.
        self.is_async = inspect.iscoroutinefunction(fn)
        #: The task's parameters and results.
        self.declaration = declaration
        #: The options with which it is sent, unless a call gives others.
        self.options = options
        self.retry_policy = retry
        self.soft_limit = soft_limit
        self.hard_limit = hard_limit
        self.pause = pause
        self.unique_for = unique_for
        self._template: tuple[tuple[str, str, Declaration] | None, SignatureTemplate | None] = (None, None)
        #: Signature to a list of Python values; raises ArgumentUnreadable or CallMismatch.
        self.read_args: Callable[[Signature], list[Any]] = declaration.read_args
        #: Turns the function's return value into typed results; raises LocalProtocolError.
        self.dump_results: Callable[[Any], tuple[TaskResult, ...]] = declaration.dump_results

    def __repr__(self) -> str:
        return f"<Task {self.name}{'' if self.fn else ' (remote)'}>"

    if not TYPE_CHECKING:  # with __getattr__, a type checker would accept every name

        def __getattr__(self, name: str) -> Any:
            if name == "app":
                raise TaskError(
                    f"task {self.name!r} belongs to no app yet: "
                    f"import the module of the app that has include=[{self.__module__!r}] first"
                )
            refuse(TASK, f"task {self.__dict__.get('name', '?')!r}", self, name)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C:
        """Call the function, here and now."""
        if self.fn is None:
            raise TaskError(f"task {self.name!r} is remote: it can be sent, but not called here")
        return self.fn(*args, **kwargs)  # for a bound task, ``fn`` puts the task in front

    @property
    def request(self) -> TaskContext:
        """The call of this task that is running here, with its id, headers, retries and times.

        If the function is called directly, as in a test, it is a call with the id ``""`` and no retries.
        """
        running = RUNNING.get(None)
        if running is not None and running.name == self.name:
            return running
        return TaskContext(Signature(Name=self.name, RetryCount=self.options.retry_count or 0), self.app)

    @property
    def max_retries(self) -> int | None:
        """Celery's name of the retry policy's ``max``; None if there is no policy."""
        return None if self.retry_policy is None else self.retry_policy.max

    def retry(
        self,
        exc: BaseException | None = None,
        countdown: float | timedelta | None = None,
        max_retries: int | None = None,
    ) -> NoReturn:
        """Try the running call again, as one of its retries: ``raise self.retry(exc=exc, countdown=5)``.

        Args:
            exc: the error with which the task fails if no retry is left; None: the exception that is being handled.
            countdown: seconds (or a timedelta) until the next try; None: the pause of the retry policy.
            max_retries: fail if this number of retries was used; None: the number that the message carries decides.

        Raises:
            RetryRequested: always, for the worker.
            TaskError: the function was called directly, and there is no ``exc``. If there is one, it is raised instead.
        """
        error = exc if exc is not None else sys.exc_info()[1]
        request = RUNNING.get(None)
        if request is None:
            raise error if error is not None else TaskError(f"task {self.name!r}: no task is running here")
        if max_retries is not None and request.retries >= max_retries:
            raise error if error is not None else TaskError(f"task {self.name!r}: no retry is left")
        seconds = countdown.total_seconds() if isinstance(countdown, timedelta) else countdown
        raise RetryRequested(error, seconds)

    def apply(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[OptionSet]
    ) -> AsyncResult[R]:
        """Run the task in this process at once, without a broker or a worker.

        Arguments and results are encoded and decoded as on the wire. Retries run at once. The method returns a
        result as an app with the broker ``eager`` does.
        """
        return TaskSignature(self, tuple(args), kwargs).apply(**options)

    def starmap(self, calls: Iterable[Sequence[Any]]) -> Group[R]:
        """A group of calls, each with the arguments of one of ``calls``. (On the wire each is a task of its own.)"""
        return group(TaskSignature(self, tuple(args)) for args in calls)

    def map(self, values: Iterable[Any]) -> Group[R]:
        """A group of calls, each with one of ``values`` as its argument."""
        return self.starmap((value,) for value in values)

    def chunks(self, calls: Iterable[Sequence[Any]], size: int) -> NoReturn:
        """Raise TaskError: Celery's chunks have no equal here."""
        raise TaskError(
            f"task {self.name!r}: chunks would need one message with several calls, which Machinery does not have; "
            "starmap(calls) sends them in batches, as separate tasks"
        )

    def call(self, values: list[Any]) -> tuple[TaskResult, ...]:
        """Run the function on the values that :attr:`read_args` returned.

        Raises the function's errors, and LocalProtocolError if a result does not fit its Go type. A coroutine function
        gets an event loop of its own; use :meth:`acall` if a loop is already running.
        """
        if self.is_async:
            return asyncio.run(self.acall(values))
        assert self.fn is not None
        return self.dump_results(cast("Callable[..., Any]", self.fn)(*values))

    async def acall(self, values: list[Any]) -> tuple[TaskResult, ...]:
        """Run a coroutine function; see :meth:`call`."""
        assert self.fn is not None
        return self.dump_results(await cast("Callable[..., Any]", self.fn)(*values))

    def template(self, routing_key: str) -> SignatureTemplate | None:
        """The task's encoded signature for one queue, with gaps for the UUID and the arguments.

        A task with a parameter that takes any type has no such signature; the result is None then.
        """
        key = (routing_key, self.name, self.declaration)
        made, template = self._template
        if made is None or made[:2] != key[:2] or made[2] is not key[2]:
            types = [slot.go for slot in self.declaration.exact]
            template = SignatureTemplate(self.name, routing_key, types) if all(types) else None
            self._template = key, template
        return template

    @overload
    def s(self, *args: P.args, **kwargs: P.kwargs) -> TaskSignature[R]: ...
    @overload
    def s(self: Task[..., R, C]) -> TaskSignature[R]: ...
    @overload
    def s(self: Takes1[A0], a: A0, /) -> TaskSignature[R]: ...
    @overload
    def s(self: Takes2[A0, A1], a: A0, b: A1, /) -> TaskSignature[R]: ...
    @overload
    def s(self: Takes3[A0, A1, A2], a: A0, b: A1, c: A2, /) -> TaskSignature[R]: ...
    @overload
    def s(self: Takes4[A0, A1, A2, A3], a: A0, b: A1, c: A2, d: A3, /) -> TaskSignature[R]: ...
    @overload
    def s(self, a: Any, b: Any, c: Any, d: Any, e: Any, /, *more: Any) -> TaskSignature[R]: ...
    def s(self, *args: Any, **kwargs: Any) -> TaskSignature[Any]:
        """This task with arguments, to be a part of a workflow or to be sent later.

        The results of the step before are appended to the arguments.
        """
        return TaskSignature(self, args, kwargs)

    def si(self, *args: P.args, **kwargs: P.kwargs) -> TaskSignature[R]:
        """The same as :meth:`s`, but the task does not get the results of the step before."""
        return TaskSignature(self, args, kwargs, _IMMUTABLE)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send it with these arguments.

        Raises:
            TaskError: wrong number or names of arguments; nothing was sent.
            LocalProtocolError: a value does not fit its Go type; nothing was sent.
            PublishError: the broker did not take it in time.
        """
        result: AsyncResult[R] = self.app.send_call(TaskSignature(self, args, kwargs))
        return result

    def apply_async(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[OptionSet],
    ) -> AsyncResult[R]:
        """Send it with options: countdown, eta, queue, priority, headers, retry_count, retry_timeout, …

        Raises: as :meth:`delay`.
        """
        return TaskSignature(self, tuple(args), kwargs).apply_async(**options)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Do the same as :meth:`delay` without blocking the event loop.

        If the call is cancelled before its message is on the way, nothing is sent.
        """
        result: AsyncResult[R] = await self.app.asend_call(TaskSignature(self, args, kwargs))
        return result

    async def aapply_async(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[OptionSet],
    ) -> AsyncResult[R]:
        """Do the same as :meth:`apply_async` without blocking the event loop."""
        return await TaskSignature(self, tuple(args), kwargs).aapply_async(**options)

    def AsyncResult(self, task_id: str) -> AsyncResult[R]:  # noqa: N802 - Celery's name
        """The result of a call of this task, by its UUID: ``app.result(uuid, task)``."""
        result: AsyncResult[R] = self.app.result(task_id, self)
        return result


_IMMUTABLE = Options(immutable=True)


@overload
def signature(
    task: Task[..., T, Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    **options: Unpack[OptionSet],
) -> TaskSignature[T]: ...
@overload
def signature(
    task: N, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[OptionSet]
) -> N: ...
def signature(
    task: Any,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    **options: Unpack[OptionSet],
) -> Any:
    """A task's signature, as ``task.s(…)`` makes one; or a copy of a signature or workflow, as ``clone`` makes one.

    If you have only the name of a task, use :meth:`App.signature <gearmesh.App.signature>`.

    Raises:
        TaskError: it is neither a task nor a signature.
    """
    if isinstance(task, str):
        raise TaskError(f"signature({task!r}) has no app: use app.signature({task!r})")
    if not isinstance(task, (Node, Task)):
        raise TaskError(f"signature: {task!r:.80} is no task, expected a task or a signature")
    node = task.s() if isinstance(task, Task) else task
    return node.clone(args, kwargs, **options)
