"""A task together with arguments and options, not sent yet: what ``task.s(…)`` gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gearmesh.app.node import AnyNode, Node
from gearmesh.app.options import NOTHING, Options, options_of
from gearmesh.app.results import AsyncResult

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gearmesh.app.app import App
    from gearmesh.app.options import OptionSet
    from gearmesh.app.task import Task

__all__ = ["TaskSignature"]


class TaskSignature(Node[AsyncResult[Any]]):
    """One call of a task, to be sent or to be a part of a workflow. Never changed.

    Its arguments are checked when it is sent: where it stands decides what is put in front of
    them (``on_error``: the error's text) or appended (the results of the step before).
    """

    __slots__ = ("args", "kwargs", "options", "task")

    task: Task[..., Any, Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    options: Options

    def __init__(
        self,
        task: Task[..., Any, Any],
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

    def set(self, **options: Unpack[OptionSet]) -> TaskSignature:
        """A copy with these options. Raises TaskError or LocalProtocolError for what cannot be sent."""
        given = options_of(self.task.name, dict(options))
        return TaskSignature(self.task, self.args, self.kwargs, given.over(self.options))

    def on_success(self, *nodes: AnyNode) -> TaskSignature:
        """A copy that is followed by these too when it succeeds."""
        return self.set(on_success=(*(self.options.on_success or ()), *nodes))

    def on_error(self, *nodes: AnyNode) -> TaskSignature:
        """A copy that is followed by these too when it fails; they get the error's text first."""
        return self.set(on_error=(*(self.options.on_error or ()), *nodes))

    def apply_async(self, **options: Unpack[OptionSet]) -> AsyncResult[Any]:
        """Send it. These options win over its own.

        Raises:
            TaskError, LocalProtocolError: something cannot be sent; nothing was.
            PublishError: the broker did not take it in time.
        """
        given = options_of(self.task.name, dict(options)) if options else NOTHING
        call = (
            self
            if given is NOTHING
            else TaskSignature(self.task, self.args, self.kwargs, given.over(self.options))
        )
        return self.app._send_one(call)

    def __call__(self) -> Any:
        """Run the task here and now, as Celery does; nothing is sent."""
        return self.task(*self.args, **self.kwargs)

    def apply(self, **options: Unpack[OptionSet]) -> AsyncResult[Any]:
        """Run the task here and now, through the same JSON as on the wire; see :meth:`Task.apply`."""
        return self.app.eager_twin._send_one(self.set(**options))

    def delay(self) -> AsyncResult[Any]:
        """Send it as it is."""
        return self.app._send_one(self)
