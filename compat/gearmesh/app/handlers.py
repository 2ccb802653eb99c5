"""Functions of the user's that a worker calls around tasks, as Machinery has them."""

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
    """Calls the user's functions before and after the tasks of one app. What one raises is logged, and changes nothing
    for the task or the others.

    Each kind may have several, called in the order of their registration, in the thread that runs the task (for
    ``async def`` tasks that of their event loop: a handler should be quick). :func:`gearmesh.current` works in those
    around a task.

    Attributes:
        around: there is a handler that is called around tasks.
    """

    def __init__(self) -> None:
        self.around = False
        self._handlers: dict[str, tuple[Callable[..., object], ...]] = {}
        self._consume: tuple[tuple[Callable[..., object], bool], ...] = ()

    def on_error(self, handler: H) -> H:
        """Register one for final failures. Raises TaskError for what is no plain function of two arguments."""
        return self._register("on_error", handler, 2)

    def before_task(self, handler: H) -> H:
        """Register one that comes before each call. Raises TaskError as :meth:`on_error`, of one argument."""
        return self._register("before_task", handler, 1)

    def after_task(self, handler: H) -> H:
        """Register one that comes after each call. Raises TaskError as :meth:`on_error`, of one argument."""
        return self._register("after_task", handler, 1)

    def _register(self, kind: str, handler: H, count: int) -> H:
        self._handlers[kind] = (*self._handlers.get(kind, ()), _checked(kind, handler, count, count))
        self.around = True
        return handler

    def before_consume(self, handler: H) -> H:
        """Register one that allows taking tasks. Raises TaskError as :meth:`on_error`, of at most one argument."""
        self._consume += ((_checked("before_consume", handler, 0, 1), _takes(handler, 1)),)
        return handler

    # --- a worker's side -----------------------------------------------------------------------

    def failed(self, sig: Signature, exc: BaseException) -> None:
        """The task has failed for good."""
        self._call("on_error", sig, exc)

    def starting(self, sig: Signature) -> None:
        """The task is about to be called."""
        self._call("before_task", sig)

    def ended(self, sig: Signature) -> None:
        """The call is over, and it is known what becomes of the task."""
        self._call("after_task", sig)

    def _call(self, kind: str, *args: Any) -> None:
        for handler in self._handlers.get(kind, ()):
            try:
                handler(*args)
            except BaseException:  # SystemExit too: it is no wish of the task's
                log.exception("%s handler %r raised", kind, handler)

    def may_consume(self, worker: object = None) -> bool:
        """False if a handler says that nothing should be taken now. One that raises does not say so."""
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
    except ValueError:  # a builtin that does not say
        return True
    return True
