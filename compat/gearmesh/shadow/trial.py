"""Runs the Python version of one copied call, without any effect on the deployment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from gearmesh.app.app import App
from gearmesh.app.context import RUNNING
from gearmesh.app.eager import error_text
from gearmesh.app.task import Task
from gearmesh.shadow.comparison import Outcome

__all__ = ["in_shadow", "shadow_task"]

_IN_SHADOW: Final[ContextVar[bool]] = ContextVar("in_shadow", default=False)


def in_shadow() -> bool:
    """Return True while a shadow run tries a task.

    A task calls this function before it does something that must not happen twice.
    """
    return _IN_SHADOW.get()


def shadow_task(
    app: App, task: Task[..., Any, Any], begins: Callable[[str], None], done: Callable[[Outcome], None]
) -> Task[..., Any, Any]:
    """Make the task that runs a trial of ``task`` and passes its outcome to ``done``.

    Args:
        app: the app of the shadow run's own worker, which keeps no results.
        task: the Python version. Its app must use a broker inside this process.
        begins: a function that is called with the UUID before the trial.
        done: a function that is called in the worker's thread after it. An exception of the task ends in the outcome.
    """

    def trial(*values: Any) -> None:
        sig = RUNNING.get().signature
        begins(sig.UUID)
        token = _IN_SHADOW.set(True)
        began = time.monotonic()
        try:
            value = _call(task, values)
            seconds = time.monotonic() - began
            outcome = Outcome(sig.UUID, sig.Name, seconds, task.dump_results(value))
        except Exception as exc:
            seconds = time.monotonic() - began
            outcome = Outcome(sig.UUID, sig.Name, seconds, None, error_text(exc), type(exc).__name__)
        finally:
            _IN_SHADOW.reset(token)
        done(outcome)

    made: Task[..., Any, Any] = Task(app, trial, task.declaration)
    made.name = task.name
    made.dump_results = lambda value: ()
    return made


def _call(task: Task[..., Any, Any], values: Any) -> Any:
    assert task.fn is not None
    if task.is_async:
        return asyncio.run(task.fn(*values))
    return task.fn(*values)
