"""Workflows: ``chain``, ``group`` and ``chord``, as far as a Machinery signature can say them.

=========================  =====================================================================
on the wire                means
=========================  =====================================================================
``OnSuccess``              what follows a step; several are a group behind it
``GroupUUID`` and meta     the tasks whose values a group's are: of a member chain the last step
``ChordCallback``          one task that follows a whole group
=========================  =====================================================================

So two groups in a row cannot be said, nor a group as a chord's body: both raise TaskError, with
the remedy of a task between them. A group within a group is the same as its members in its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, overload

from gearmesh.app.node import AnyNode, Node
from gearmesh.app.resultsets import ChainResult, ChordResult, GroupResult
from gearmesh.errors import TaskError

if TYPE_CHECKING:
    from gearmesh.app.app import App

__all__ = ["Chain", "Chord", "Group", "chain", "chord", "group"]

#: Iterable, but no list of signatures.
_TEXT: tuple[type[Any], ...] = (str, bytes)


class Chain(Node[ChainResult]):
    """Steps that run one after another, each with the results of the one before appended."""

    __slots__ = ("steps",)

    def __init__(self, steps: tuple[AnyNode, ...]) -> None:
        self.steps = steps

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.steps))

    @property
    def app(self) -> App:
        return self.steps[0].app


class Group(Node[GroupResult]):
    """Members that run at the same time.

    ``send_concurrency``: see :func:`group`.
    """

    __slots__ = ("members", "send_concurrency")

    def __init__(self, members: tuple[AnyNode, ...], send_concurrency: int | None = None) -> None:
        self.members = members
        self.send_concurrency = send_concurrency

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.members[:3]))
        return f"group([{shown}{', …' if len(self.members) > 3 else ''}])"

    @property
    def app(self) -> App:
        return self.members[0].app


class Chord(Node[ChordResult]):
    """A group, and a body that runs once all members have succeeded, with all their results appended."""

    __slots__ = ("body", "header")

    def __init__(self, header: Group, body: AnyNode) -> None:
        self.header = header
        self.body = body

    def __repr__(self) -> str:
        return f"chord({self.header!r}, {self.body!r})"

    @property
    def app(self) -> App:
        return self.header.app


def chain(*steps: AnyNode | Iterable[AnyNode]) -> Chain | Chord:
    """Run steps one after another: ``chain(a, b)``, ``chain([a, b])``, ``a | b``.

    A group that something follows is a chord.

    Raises:
        TaskError: there are no steps, or two groups follow one another.
    """
    flat: list[AnyNode] = []
    for step in _nodes("chain", steps):
        if isinstance(step, Chain):
            flat.extend(step.steps)
        else:
            flat.append(step)
    joined: list[AnyNode] = []
    for step in flat:
        if joined and isinstance(joined[-1], Group):
            joined[-1] = Chord(joined[-1], _body(step))
        else:
            joined.append(step)
    if len(joined) == 1 and isinstance(joined[0], Chord):
        return joined[0]
    return Chain(tuple(joined))


def group(*members: AnyNode | Iterable[AnyNode], send_concurrency: int | None = None) -> Group:
    """Run members at the same time: ``group(a, b)``, ``group([a, b])``.

    Args:
        send_concurrency: how many connections send the members. Machinery sends each member by
            itself and limits how many at a time; here they go in batches of 256, so one connection
            (0 or 1) is right unless the broker is far away. None: as the app's config says. With
            more than one the members' order in the queue is not theirs in the group.

    Raises:
        TaskError: there are no members.
    """
    if send_concurrency is not None and send_concurrency < 0:
        raise TaskError(f"group: send_concurrency is {send_concurrency!r}, expected 0 or more")
    flat: list[AnyNode] = []
    for member in _nodes("group", members):
        if isinstance(member, Group):
            flat.extend(member.members)
        else:
            flat.append(member)
    return Group(tuple(flat), send_concurrency)


class _Header:
    """``chord(header)``, waiting for its body."""

    def __init__(self, header: Group) -> None:
        self._header = header

    def __call__(self, body: AnyNode) -> ChordResult:
        """Send the chord with this body, as Celery does."""
        return Chord(self._header, _body(body)).apply_async()


@overload
def chord(header: AnyNode | Iterable[AnyNode], *, send_concurrency: int | None = None) -> _Header: ...
@overload
def chord(
    header: AnyNode | Iterable[AnyNode], body: AnyNode, *, send_concurrency: int | None = None
) -> Chord: ...
def chord(
    header: AnyNode | Iterable[AnyNode], body: AnyNode | None = None, *, send_concurrency: int | None = None
) -> Chord | _Header:
    """Run ``header`` as a group and then ``body``: ``chord(header, body).delay()`` or ``chord(header)(body)``.

    The body gets every member's results as arguments of its own, in the members' order: it is
    usually declared with ``*args``. With ``si`` it gets none. ``chord(header, body)`` is sent by ``delay()``, by
    ``apply_async()`` or by a call; ``chord(header)(body)`` is sent at once, as in Celery.

    Raises:
        TaskError: the header is empty, or the body is a group.
    """
    if isinstance(header, Group):
        concurrency = header.send_concurrency if send_concurrency is None else send_concurrency
        members = Group(header.members, concurrency)
    else:
        members = group(header, send_concurrency=send_concurrency)
    return _Header(members) if body is None else Chord(members, _body(body))


def _body(node: Any) -> AnyNode:
    if not isinstance(node, Node):
        raise TaskError(f"chord: the body is {node!r:.80}, expected a signature (task.s(…)) or a chain")
    first = node.steps[0] if isinstance(node, Chain) else node
    if isinstance(first, (Group, Chord)):
        raise TaskError(
            "a group cannot directly follow a group: the wire has one task that follows a group "
            "(ChordCallback); put a task between them"
        )
    return node


def _nodes(what: str, given: Iterable[AnyNode | Iterable[AnyNode]]) -> list[AnyNode]:
    nodes: list[AnyNode] = []
    for each in given:
        if isinstance(each, Node):
            nodes.append(each)
            continue
        if isinstance(each, _TEXT) or not isinstance(each, Iterable):
            raise TaskError(
                f"{what}: {each!r:.80} is no signature, expected task.s(…), a chain, group or chord"
            )
        nodes.extend(_nodes(what, each))
    if not nodes:
        raise TaskError(f"{what}: it is empty, expected at least one signature")
    return nodes
