"""How the parts of a workflow begin and end: what is wanted there, and what is given."""

from __future__ import annotations

from collections.abc import Sequence

from gearmesh.app.canvas import Chain, Chord, Group
from gearmesh.app.node import AnyNode
from gearmesh.app.signature import TaskSignature
from gearmesh.declarations.value_codec import ValueCodec

__all__ = ["results", "wants", "width"]


def wants(node: AnyNode) -> frozenset[bool]:
    """Whether the tasks that a node begins with want the results of what is before them."""
    while isinstance(node, Chain):
        node = node.steps[0]
    if isinstance(node, TaskSignature):
        return frozenset((not node.immutable,))
    group = node.header if isinstance(node, Chord) else node
    return frozenset().union(*map(wants, group.members if isinstance(group, Group) else ()))


def results(node: AnyNode) -> Sequence[ValueCodec] | None:
    """What a node's end gives to what follows it; None: not known."""
    while not isinstance(node, (TaskSignature, Group)):
        node = node.steps[-1] if isinstance(node, Chain) else node.body  # type: ignore[attr-defined]
    if isinstance(node, TaskSignature):
        return node.task.declaration.results
    given: list[ValueCodec] = []
    for member in node.members:
        slots = results(member)
        if slots is None:
            return None
        given.extend(slots)
    return given


def width(node: AnyNode) -> int:
    """How many tasks a node ends with: its members, as a member of a group."""
    while not isinstance(node, (TaskSignature, Group)):
        node = node.steps[-1] if isinstance(node, Chain) else node.body  # type: ignore[attr-defined]
    return 1 if isinstance(node, TaskSignature) else sum(map(width, node.members))
