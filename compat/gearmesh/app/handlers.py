"""The user's functions that a worker calls around tasks, as in Machinery."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from gearmesh.errors import TaskError
from gearmesh.wire.signature import Signature

__all__ = ["Handlers"]

log = logging.getLogger("gearmesh.worker")

H = TypeVar("H", bound=Callable[..., Any])


class Handlers:
    """Calls the user's functions before and after the tasks of one app. It logs the exception of a handler; the task
    and the other handlers go on.

    Each kind may have several handlers. They run in the order of registration, in the thread that runs the task. For
    ``async def`` tasks this is the thread of the event loop, so a handler should be quick. :func:`gearmesh.current`
    works in handlers around a task.

    Attributes:
        around: True: a handler is called around tasks.
    """

    def __init__(self) -> None:
        self.around = False
        self._handlers: dict[str, tuple[Callable[..., object], ...]] = {}
        self._consume: tuple[tuple[Callable[..., object], bool], ...] = ()

    def on_error(self, handler: H) -> H:
        """Register a handler for final failures. Raises TaskError if it is no plain function of two arguments."""
        return self._register("on_error", handler, 2)

    def before_task(self, handler: H) -> H:
        """Register a handler to call before each call. Raises TaskError if it is no plain function of one argument."""
        return self._register("before_task", handler, 1)

    def after_task(self, handler: H) -> H:
        """Register a handler to call after each call. Raises TaskError if it is no plain function of one argument."""
        return self._register("after_task", handler, 1)

    def _register(self, kind: str, handler: H, count: int) -> H:
        self._handlers[kind] = (*self._handlers.get(kind, ()), _checked(kind, handler, count, count))
        self.around = True
        return handler

    def before_consume(self, handler: H) -> H:
        """Register a handler that lets the worker take tasks, or not.

        Raises TaskError if it is no plain function of at most one argument.
        """
        self._consume += ((_checked("before_consume", handler, 0, 1), _takes(handler, 1)),)
        return handler

    # --- a worker's side -----------------------------------------------------------------------

    def failed(self, sig: Signature, exc: BaseException) -> None:
        """Call the ``on_error`` handlers: the task has failed for good."""
        self._call("on_error", sig, exc)

    def starting(self, sig: Signature) -> None:
        """Call the ``before_task`` handlers: the task is about to run."""
        self._call("before_task", sig)

    def ended(self, sig: Signature) -> None:
        """Call the ``after_task`` handlers: the call has ended, and its outcome is known."""
        self._call("after_task", sig)

    def _call(self, kind: str, *args: Any) -> None:
        for handler in self._handlers.get(kind, ()):
            try:
                handler(*args)
            except BaseException:  # also SystemExit, since it does not come from the task
                log.exception("%s handler %r raised", kind, handler)

    def may_consume(self, worker: object = None) -> bool:
        """False if a handler returns false: the worker must take no tasks now. A handler that raises is ignored."""
        for handler, wants_worker in self._consume:
            try:
                if not (handler(worker) if wants_worker else handler()):
                    return False
            except Exception:
                log.exception("before_consume handler %r raised", handler)
        return True


def _checked(kind: str, handler: Any, least: int, most: int) -> Callable[..., Any]:
    if not callable(handler) or inspect.iscoroutinefunction(handler):
        raise TaskError(f"{kind}: {handler!r:.80} is no plain function")
    if not any(_takes(handler, count) for count in range(least, most + 1)):
        expected = f"{least}" if least == most else f"{least} to {most}"
        raise TaskError(f"{kind}: {handler!r:.80} can't be called with {expected} arguments")
    return handler  # type: ignore[no-any-return]


def _takes(handler: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(handler).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # a builtin function without a signature
        return True
    return True
