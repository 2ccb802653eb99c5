"""``@app.task``, which makes a function a task of the app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from gearmesh.app.capabilities import TaskOwner
from gearmesh.app.options import options_of
from gearmesh.app.settings import settings_of
from gearmesh.app.task import Task
from gearmesh.declarations.annotations import of_function
from gearmesh.errors import TaskError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gearmesh.app.options import TaskSettings, UnboundSettings

__all__ = ["TaskDecorator", "checked_name", "register"]

P = ParamSpec("P")
R = TypeVar("R")


class TaskDecorator:
    """Makes a function a task: ``@app.task``, ``@app.task(…)``, or ``@gearmesh.task``.

    The function stays callable as it is. Its annotations decide the Go types of arguments and results, see
    :mod:`gearmesh.types`. Without an annotation the value decides. A task of ``@gearmesh.task`` gets its app later,
    from ``App(include=…)``.
    """

    def __init__(
        self,
        app: TaskOwner | None,
        name: str | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._app = app
        self._name = name
        self._options = options

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, fn: Callable[P, Awaitable[R]], /) -> Task[P, R, Awaitable[R]]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R, R]: ...
    @overload
    def __call__(
        self,
        fn: None = None,
        /,
        *,
        name: str | None = None,
        bind: Literal[True],
        **options: Unpack[UnboundSettings],
    ) -> BoundTaskDecorator: ...
    @overload
    def __call__(
        self,
        fn: None = None,
        /,
        *,
        name: str | None = None,
        bind: Literal[False] = False,
        **options: Unpack[UnboundSettings],
    ) -> TaskDecorator: ...
    def __call__(self, fn: Any = None, /, *, name: str | None = None, **options: Unpack[TaskSettings]) -> Any:
        """Make a function a task, or a decorator with these options if no function is given.

        Args:
            name: the name on the wire; None: the function's ``__name__``.
            options: see :class:`~gearmesh.app.options.TaskOptions` and
                :class:`~gearmesh.app.options.TaskSettings`.

        Raises:
            TaskError: an option, a default or an annotation is wrong, or the name is taken by another function.
        """
        if fn is None or name is not None or options:
            decorator = TaskDecorator(self._app, name, options)
            return decorator if fn is None else decorator(fn)
        if isinstance(fn, Task):
            fn = fn.plain
        if not callable(fn):
            raise TaskError(f"task: {fn!r:.80} is no function")
        name = checked_name(self._name if self._name is not None else getattr(fn, "__name__", ""))
        settings, rest = settings_of(name, self._options)
        declaration = of_function(name, fn, bound=settings["bind"])
        task: Task[..., Any, Any] = Task(self._app, fn, declaration, options_of(name, rest), **settings)
        if self._app is not None:
            self._app.register_task(task)
        return task


if TYPE_CHECKING:

    class BoundTaskDecorator:
        """The type of ``@app.task(bind=True)``: the function's first parameter is the task; callers leave it out."""

        @overload
        def __call__(
            self, fn: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
        ) -> Task[P, R, Coroutine[Any, Any, R]]: ...
        @overload
        def __call__(
            self, fn: Callable[Concatenate[Any, P], Awaitable[R]], /
        ) -> Task[P, R, Awaitable[R]]: ...
        @overload
        def __call__(self, fn: Callable[Concatenate[Any, P], R], /) -> Task[P, R, R]: ...
        def __call__(self, fn: Any, /) -> Any: ...


def register(tasks: dict[str, Task[..., Any, Any]], task: Task[..., Any, Any]) -> None:
    """Add a task to an app's tasks, by name.

    Raises:
        TaskError: its name is taken by another function.
    """
    taken = tasks.get(task.name)
    if taken is not None and taken.plain is not task.plain:
        raise TaskError(
            f"task name {task.name!r} is taken by {_place_of(taken.plain)}, so {_place_of(task.plain)} needs another: "
            "@app.task(name=…)"
        )
    tasks[task.name] = task


def _place_of(fn: Any) -> str:
    """The module and the name of a function."""
    return f"{getattr(fn, '__module__', '?')}.{getattr(fn, '__qualname__', fn)}"


def checked_name(name: str) -> str:
    if not isinstance(name, str) or not name:
        raise TaskError(f"task name is {name!r}, expected text that is not empty")
    return name
