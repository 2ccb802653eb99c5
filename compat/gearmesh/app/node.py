"""What a workflow is built of: signatures, and chains, groups and chords of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gearmesh.errors import TaskError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gearmesh.app.app import App
    from gearmesh.app.canvas import Chain, Chord
    from gearmesh.app.options import OptionSet
    from gearmesh.app.results import Result

__all__ = ["Node"]


class Node:
    """A part of a workflow. Never changed: every method that changes returns a copy."""

    __slots__ = ()

    @property
    def app(self) -> App:
        """The app that sends it."""
        raise NotImplementedError

    def __or__(self, other: Node) -> Chain | Chord:
        """``a | b``: b runs after a, with a's results appended to its arguments."""
        from gearmesh.app.canvas import chain

        if not isinstance(other, Node):
            return NotImplemented
        return chain(self, other)

    def apply_async(self, **options: Unpack[OptionSet]) -> Result[Any]:
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
        return self.app.send(self, given)

    def delay(self) -> Result[Any]:
        """Send it as it is."""
        return self.apply_async()

    async def aapply_async(self, **options: Unpack[OptionSet]) -> Result[Any]:
        """:meth:`apply_async` without blocking the event loop."""
        return await asyncio.to_thread(self.apply_async, **options)

    async def adelay(self) -> Result[Any]:
        """:meth:`delay` without blocking the event loop."""
        return await asyncio.to_thread(self.delay)
