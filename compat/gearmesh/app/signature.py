"""A task together with arguments and options, not sent yet: what ``task.s(…)`` gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from gearmesh.app.node import AnyNode, Change, Node
from gearmesh.app.options import NOTHING, Options, options_of
from gearmesh.errors import TaskError
from gearmesh.results.async_result import AsyncResult

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from gearmesh.app.app import App
    from gearmesh.app.options import OptionSet
    from gearmesh.app.task import Task

__all__ = ["TaskSignature"]

#: The type of the task's value.
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class TaskSignature(Node[AsyncResult[R_co]]):
    """One call of a task, to be sent or to be a part of a workflow. Never changed.

    Its arguments are checked when it is sent: where it stands decides what is put in front of
    them (``on_error``: the error's text) or appended (the results of the step before).
    """

    __slots__ = ("args", "kwargs", "options", "task")

    task: Task[..., R_co, Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    options: Options

    def __init__(
        self,
        task: Task[..., R_co, Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Options = NOTHING,
    ) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs or {}
        self.options = options

    def __repr__(self) -> str:
        shown = [repr(arg) for arg in self.args] + [
            f"{name}={value!r}" for name, value in self.kwargs.items()
        ]
        return f"{self.task.name}.{'si' if self.immutable else 's'}({', '.join(shown)})"

    @property
    def app(self) -> App:
        return self.task.app

    @property
    def immutable(self) -> bool:
        """True if it wants no results of what ran before it."""
        return bool(self.options.immutable)

    def mapped(self, change: Change, first: bool = True, last: bool = True) -> Self:
        return change(self, first, last)  # type: ignore[return-value]

    def with_own_args(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Self:
        """A copy with these arguments in front of its own; see :meth:`with_args`."""
        if self.immutable:
            raise TaskError(f"{self!r:.80} takes no more arguments: it was made by si, or is immutable")
        return type(self)(self.task, (*args, *self.args), {**self.kwargs, **kwargs}, self.options)

    def with_defaults(self, options: Options) -> Self:
        """A copy with these options where it has none of its own."""
        if options is NOTHING:
            return self
        own = self.options.over(options.without_successors())
        return type(self)(self.task, self.args, self.kwargs, own)

    def followed_by(self, success: Sequence[AnyNode], error: Sequence[AnyNode]) -> Self:
        """A copy with these added to its ``on_success`` and its ``on_error``."""
        if not success and not error:
            return self
        more: dict[str, Any] = {}
        if success:
            more["on_success"] = (*(self.options.on_success or ()), *success)
        if error:
            more["on_error"] = (*(self.options.on_error or ()), *error)
        return self.set(**more)

    def set(self, **options: Unpack[OptionSet]) -> Self:
        """A copy with these options. Raises TaskError or LocalProtocolError for what cannot be sent."""
        given = options_of(self.task.name, dict(options))
        return type(self)(self.task, self.args, self.kwargs, given.over(self.options))

    def apply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[OptionSet]
    ) -> AsyncResult[R_co]:
        """Send it. These options win over its own; arguments are put in front of its own, as in Celery.

        Raises:
            TaskError, LocalProtocolError: something cannot be sent; nothing was.
            PublishError: the broker did not take it in time.
        """
        call = self.with_args(args, kwargs)
        return self.app._send_one(call.set(**options) if options else call)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task here and now, as Celery does; nothing is sent."""
        call = self.with_args(args, kwargs)
        return call.task(*call.args, **call.kwargs)

    def apply(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[OptionSet]
    ) -> AsyncResult[R_co]:
        """Run the task here and now, through the same JSON as on the wire; see :meth:`Task.apply`."""
        return self.app.eager_twin._send_one(self.clone(args, kwargs, **options))

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[R_co]:
        """Send it, with these arguments in front of its own."""
        return self.app._send_one(self.with_args(args, kwargs))
