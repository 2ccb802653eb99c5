"""What a workflow is built of: signatures, and chains, groups and chords of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

from gearmesh.errors import TaskError
from gearmesh.habits import NODE, one_of, refuse

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from gearmesh.app.app import App
    from gearmesh.app.canvas import Chain, Chord
    from gearmesh.app.options import Options, OptionSet
    from gearmesh.app.signature import TaskSignature
    from gearmesh.results.async_result import AsyncResult, Result
    from gearmesh.results.composite import ChainResult, ChordResult, GroupResult

__all__ = ["AnyNode", "Change", "Node"]

#: The class of its result.
R_co = TypeVar("R_co", bound="Result[Any]", covariant=True)
T = TypeVar("T")
#: The nodes that make a chain with the node that follows them; a group makes a chord.
_NotGroup: TypeAlias = "Node[AsyncResult[Any]] | Node[ChainResult[Any]] | Node[ChordResult[Any]]"
#: A signature of a workflow, whether the workflow begins with it, and whether it ends with it, to the one in its place.
Change: TypeAlias = "Callable[[TaskSignature[Any], bool, bool], TaskSignature[Any]]"


class Node(Generic[R_co]):
    """A part of a workflow. Never changed: every method that changes returns a copy."""

    __slots__ = ()

    @property
    def app(self) -> App:
        """The app that sends it."""
        raise NotImplementedError

    def mapped(self, change: Change, first: bool = True, last: bool = True) -> Self:
        """A copy in which ``change`` has replaced each signature.

        Args:
            change: called with the signature, ``first`` and ``last``.
            first: the whole workflow begins with this node.
            last: the whole workflow ends with this node.
        """
        raise NotImplementedError

    @overload
    def __or__(self: Node[GroupResult[Any]], other: TaskSignature[T]) -> Chord[T]: ...
    @overload
    def __or__(self: Node[GroupResult[Any]], other: Chain[T]) -> Chain[T]: ...
    @overload
    def __or__(self: Node[GroupResult[Any]], other: AnyNode) -> Chain[Any] | Chord[Any]: ...
    @overload
    def __or__(self: _NotGroup, other: Node[Result[T]]) -> Chain[T]: ...
    @overload
    def __or__(self: _NotGroup, other: AnyNode) -> Chain[Any]: ...
    @overload
    def __or__(self, other: AnyNode) -> Chain[Any] | Chord[Any]: ...
    def __or__(self, other: AnyNode) -> Chain[Any] | Chord[Any]:
        """``a | b``: b runs after a, with a's results appended to its arguments."""
        from gearmesh.app.canvas import chain

        if not isinstance(other, Node):
            return NotImplemented
        return chain(self, other)

    if not TYPE_CHECKING:  # a checker knows by itself which names there are

        def __getattr__(self, name: str) -> Any:
            refuse(NODE, one_of(type(self)), self, name)

    def with_args(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> Self:
        """A copy whose first task, or first tasks, get these arguments in front of their own, as in Celery.

        Args:
            kwargs: by name; they win over those that it has.

        Raises:
            TaskError: a first task is one of ``si``, which takes no more arguments.
        """
        if not args and not kwargs:
            return self
        return self.mapped(lambda sig, first, last: sig.with_own_args(args, kwargs or {}) if first else sig)

    def set(self, **options: Unpack[OptionSet]) -> Self:
        """A copy with these options. In a workflow, those of the parts win over these.

        A time is that of the first part(s), ``on_success`` is for the last, ``on_error`` for each, and all else
        holds for all parts.

        Raises:
            TaskError, LocalProtocolError: an option cannot be sent, or cannot be that of a whole workflow.
        """
        from gearmesh.app.options import options_of

        given = _of_workflow(options_of("workflow", dict(options)))
        later = given.without_time()
        followed = self._followed(given)
        return followed.mapped(lambda sig, first, last: sig.with_defaults(given if first else later))

    def on_success(self, *nodes: AnyNode) -> Self:
        """A copy that is followed by these too when it succeeds: they follow its last task.

        Raises:
            TaskError: it ends with a group, which only one task can follow, as in ``chord(header, body)``.
        """
        from gearmesh.app.options import options_of

        return self._followed(options_of("workflow", {"on_success": nodes}))

    def on_error(self, *nodes: AnyNode) -> Self:
        """A copy each task of which is followed by these too when it fails; they get the error's text first."""
        from gearmesh.app.options import options_of

        return self._followed(options_of("workflow", {"on_error": nodes}))

    def _followed(self, options: Options) -> Self:
        """A copy with the ``on_success`` and ``on_error`` of these options added to its tasks."""
        success, error = options.on_success or (), options.on_error or ()
        if not success and not error:
            return self
        return self.mapped(lambda sig, first, last: sig.followed_by(success if last else (), error))

    def apply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[OptionSet]
    ) -> R_co:
        """Send it. Options of the parts win over these; see :meth:`set`.

        Args:
            args: put in front of the first task's arguments, or the first tasks'.
            kwargs: by name; they win over those that it has.

        Raises:
            TaskError, LocalProtocolError: something cannot be sent; nothing was.
            PublishError: the broker did not take it in time.
        """
        return self._sent_by(self.app, args, kwargs, options)

    def apply(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[OptionSet]
    ) -> R_co:
        """Run all of it here and now, through the same JSON as on the wire; see :meth:`Task.apply`.

        Raises:
            TaskError: a task is remote, or the call does not fit.
        """
        return self._sent_by(self.app.eager_twin, args, kwargs, options)

    def _sent_by(
        self, app: App, args: Sequence[Any], kwargs: Mapping[str, Any] | None, options: OptionSet
    ) -> R_co:
        from gearmesh.app.options import options_of

        given = _of_workflow(options_of("workflow", dict(options)))
        node = self.with_args(args, kwargs)._followed(given)
        return app.send(node, given.without_successors())

    def delay(self, *args: Any, **kwargs: Any) -> R_co:
        """Send it, with these arguments in front of the first task's, or the first tasks'."""
        return self.apply_async(args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> R_co:
        """:meth:`delay`. (A single task's signature, called, runs the task here.)"""
        return self.apply_async(args, kwargs)

    def clone(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[OptionSet]
    ) -> Self:
        """A copy with more arguments, as :meth:`delay` puts them, and with these options."""
        node = self.with_args(args, kwargs)
        return node.set(**options) if options else node

    async def aapply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[OptionSet]
    ) -> R_co:
        """:meth:`apply_async` without blocking the event loop."""
        return await asyncio.to_thread(self.apply_async, args, kwargs, **options)

    async def adelay(self, *args: Any, **kwargs: Any) -> R_co:
        """:meth:`delay` without blocking the event loop."""
        return await asyncio.to_thread(self.delay, *args, **kwargs)


AnyNode: TypeAlias = "Node[Any]"


def _of_workflow(options: Options) -> Options:
    if options.uuid or options.immutable is not None:
        raise TaskError("uuid and immutable belong to a signature, not to a whole workflow")
    return options
