"""Tasks that are declared without an app. An app that includes their module binds them to itself."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, Final

from gearmesh.app.capabilities import TaskOwner
from gearmesh.app.decorator import TaskDecorator
from gearmesh.app.task import Task
from gearmesh.errors import TaskError

__all__ = ["discover", "include", "shared_task", "task"]

#: Makes a function a task of the app that will include its module: ``App(include=["shop.orders"])``. So the module with
#: the tasks need not import the app. Before that, you can call the function and make its signatures, but not send them.
task: Final = TaskDecorator(None)
#: Celery's name of :data:`task`.
shared_task: Final = task


def include(app: TaskOwner, modules: Iterable[str]) -> list[str]:
    """Import modules and bind the tasks in them that have no app yet.

    Returns:
        The modules that cannot be imported yet, since they import the module that makes the app. Include them later.

    Raises:
        TaskError: a task belongs to another app, or its name is taken.
        ImportError: a module does not exist. An exception that a module raises reaches the caller.
    """
    later = []
    for name in modules:
        try:
            module = importlib.import_module(name)
        except (ImportError, AttributeError) as exc:
            if not _needs_unfinished_module(exc):
                raise
            later.append(name)
            continue
        if _is_unfinished(module):  # it is being imported, and has imported the app's module on its way
            later.append(name)
        for each in _tasks_of(module):
            _bind(app, each)
    return later


def _needs_unfinished_module(exc: ImportError | AttributeError) -> bool:
    """True for an error of ``from shop.app import app`` or of ``shop.app.app`` while ``shop.app`` is being imported."""
    if isinstance(exc, ImportError):
        return _is_unfinished(sys.modules.get(exc.name or ""))
    if not isinstance(exc.obj, ModuleType):
        return False
    # A package gets a submodule as its attribute once that is complete.
    return _is_unfinished(exc.obj) or _is_unfinished(sys.modules.get(f"{exc.obj.__name__}.{exc.name}"))


def _is_unfinished(module: ModuleType | None) -> bool:
    # The import system sets this until the module's code has run. Its own error messages depend on it.
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def discover(app: TaskOwner, packages: Iterable[str], related_name: str) -> list[str]:
    """Include the module ``related_name`` of each package that has one; see :func:`include`."""
    found = (f"{package}.{related_name}" for package in packages)
    return include(app, [name for name in found if importlib.util.find_spec(name) is not None])


def _tasks_of(module: ModuleType) -> Iterator[Task[..., Any, Any]]:
    """The tasks that the module itself declares by :func:`task`, without those that it imports."""
    for value in list(vars(module).values()):
        if isinstance(value, Task) and value.late and value.__module__ == module.__name__:
            yield value


def _bind(app: TaskOwner, late: Task[..., Any, Any]) -> None:
    owner = late.__dict__.get("app")
    if owner is app:
        return
    if owner is not None and not owner.closed:
        raise TaskError(
            f"task {late.name!r} belongs to another app already: {owner!r}; close that one first, "
            "or declare the task by each app's own @app.task"
        )
    app.register_task(late)
    late.app = app
