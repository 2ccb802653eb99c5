"""``@app.task``: from a function to a task of the app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from gearmesh.app.capabilities import TaskOwner
from gearmesh.app.options import options_of
from gearmesh.app.settings import settings_of
from gearmesh.app.task import Task
from gearmesh.declarations.annotations import of_function
from gearmesh.errors import TaskError

__all__ = ["TaskDecorator", "checked_name", "register"]

P = ParamSpec("P")
R = TypeVar("R")


class TaskDecorator:
    """``@app.task(…)``, or ``@gearmesh.task(…)`` of no app yet (None), waiting for its function."""

    def __init__(self, app: TaskOwner | None, name: str | None, options: Mapping[str, Any]) -> None:
        self._app = app
        self._name = name
        self._options = options

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, fn: Callable[P, Awaitable[R]], /) -> Task[P, R, Awaitable[R]]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R, R]: ...
    def __call__(self, fn: Any, /) -> Any:
        if isinstance(fn, Task):
            fn = fn.plain
        if not callable(fn):
            raise TaskError(f"task: {fn!r:.80} is no function")
        name = checked_name(self._name if self._name is not None else getattr(fn, "__name__", ""))
        task = _make_task(self._app, name, fn, self._options)
        if self._app is not None:
            self._app.register_task(task)
        return task


if TYPE_CHECKING:

    class BoundTaskDecorator:
        """For type checkers: ``@app.task(bind=True)``, whose function takes the task first, and its callers do not."""

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


def _make_task(app: TaskOwner | None, name: str, fn: Any, given: Mapping[str, Any]) -> Task[..., Any, Any]:
    """A task of ``app`` (None: of none yet) from a function and the options of its decorator.

    Raises:
        TaskError, LocalProtocolError: an option, an annotation or a default is wrong.
    """
    settings, rest = settings_of(name, given)
    declaration = of_function(name, fn, bound=settings["bind"])
    return Task(app, fn, declaration, options_of(name, rest), **settings)


def register(tasks: dict[str, Task[..., Any, Any]], task: Task[..., Any, Any]) -> None:
    """Add a task to those of an app, by name.

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
    """A function by its module and name."""
    return f"{getattr(fn, '__module__', '?')}.{getattr(fn, '__qualname__', fn)}"


def checked_name(name: str) -> str:
    if not isinstance(name, str) or not name:
        raise TaskError(f"task name is {name!r}, expected text that is not empty")
    return name
