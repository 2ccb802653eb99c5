"""What a workflow is built of: signatures, and chains, groups and chords of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from gearmesh.errors import TaskError

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from gearmesh.app.app import App
    from gearmesh.app.canvas import Chain, Chord
    from gearmesh.app.options import OptionSet
    from gearmesh.app.result import Result

__all__ = ["AnyNode", "Node"]

#: The class of its result.
R_co = TypeVar("R_co", bound="Result[Any]", covariant=True)


class Node(Generic[R_co]):
    """A part of a workflow. Never changed: every method that changes returns a copy."""

    __slots__ = ()

    @property
    def app(self) -> App:
        """The app that sends it."""
        raise NotImplementedError

    def __or__(self, other: AnyNode) -> Chain | Chord:
        """``a | b``: b runs after a, with a's results appended to its arguments."""
        from gearmesh.app.canvas import chain

        if not isinstance(other, Node):
            return NotImplemented
        return chain(self, other)

    def apply_async(self, **options: Unpack[OptionSet]) -> R_co:
        """Send it. Options of the parts win over these; a time is that of the first part(s).

        Raises:
            TaskError, LocalProtocolError: something cannot be sent; nothing was.
            PublishError: the broker did not take it in time.
        """
        from gearmesh.app.options import options_of

        given = options_of("workflow", dict(options))
        if given.uuid or given.on_success or given.on_error or given.immutable is not None:
            raise TaskError(
                "uuid, on_success, on_error and immutable belong to a signature, not to a whole workflow"
            )
        result: R_co = self.app.send(self, given)  # type: ignore[assignment]
        return result

    def delay(self) -> R_co:
        """Send it as it is."""
        return self.apply_async()

    def __call__(self) -> R_co:
        """Send it as it is. (A single task's signature, called, runs the task here.)"""
        return self.apply_async()

    def clone(self) -> Self:
        """Itself, since it never changes."""
        return self

    async def aapply_async(self, **options: Unpack[OptionSet]) -> R_co:
        """:meth:`apply_async` without blocking the event loop."""
        return await asyncio.to_thread(self.apply_async, **options)

    async def adelay(self) -> R_co:
        """:meth:`delay` without blocking the event loop."""
        return await asyncio.to_thread(self.delay)


AnyNode: TypeAlias = "Node[Any]"
