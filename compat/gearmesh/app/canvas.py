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

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar, overload

from gearmesh.app.node import AnyNode, Change, Node
from gearmesh.errors import TaskError
from gearmesh.results.composite import ChainResult, ChordResult, GroupResult

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from gearmesh.app.app import App
    from gearmesh.app.options import Options, OptionSet
    from gearmesh.app.signature import TaskSignature
    from gearmesh.app.task import Task
    from gearmesh.results.async_result import Result

__all__ = ["Chain", "Chord", "Group", "chain", "chord", "group", "signature"]

T = TypeVar("T")
S = TypeVar("S")
T_co = TypeVar("T_co", covariant=True)
N = TypeVar("N", bound=AnyNode)
#: A node that makes a chain with the node that follows it. (A group makes a chord.)
_Single: TypeAlias = "TaskSignature[Any] | Chain[Any]"
#: A node with one value.
_Value: TypeAlias = "TaskSignature[T] | Chain[T] | Chord[T]"

#: Iterable, but no list of signatures.
_TEXT: tuple[type[Any], ...] = (str, bytes)


class Chain(Node[ChainResult[T_co]]):
    """Steps that run one after another, each with the results of the one before appended."""

    __slots__ = ("steps",)

    def __init__(self, steps: tuple[AnyNode, ...]) -> None:
        self.steps = steps

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.steps))

    @property
    def app(self) -> App:
        return self.steps[0].app

    @property
    def tasks(self) -> tuple[AnyNode, ...]:
        """Celery's name of ``steps``."""
        return self.steps

    def mapped(self, change: Change, first: bool = True, last: bool = True) -> Self:
        end = len(self.steps) - 1
        return type(self)(
            tuple(
                step.mapped(change, first and i == 0, last and i == end) for i, step in enumerate(self.steps)
            )
        )


class Group(Node[GroupResult[T]]):
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

    @property
    def tasks(self) -> tuple[AnyNode, ...]:
        """Celery's name of ``members``."""
        return self.members

    def mapped(self, change: Change, first: bool = True, last: bool = True) -> Self:
        members = tuple(member.mapped(change, first, last) for member in self.members)
        return type(self)(members, self.send_concurrency)

    def _followed(self, options: Options) -> Self:
        if options.on_success:
            raise TaskError(
                f"{self!r:.80}: on_success of a whole group; one task can follow a group: chord(group, task)"
            )
        return super()._followed(options)


class Chord(Node[ChordResult[T_co]]):
    """A group, and a body that runs once all members have succeeded, with all their results appended."""

    __slots__ = ("body", "header")

    def __init__(self, header: Group[Any], body: AnyNode) -> None:
        self.header = header
        self.body = body

    def __repr__(self) -> str:
        return f"chord({self.header!r}, {self.body!r})"

    @property
    def app(self) -> App:
        return self.header.app

    @property
    def tasks(self) -> tuple[AnyNode, ...]:
        """Celery's name of the header's members."""
        return self.header.members

    def mapped(self, change: Change, first: bool = True, last: bool = True) -> Self:
        return type(self)(
            self.header.mapped(change, first, last=False), self.body.mapped(change, first=False, last=last)
        )


@overload
def chain(first: _Single, last: Node[Result[T]], /) -> Chain[T]: ...
@overload
def chain(first: _Single, b: AnyNode, last: Node[Result[T]], /) -> Chain[T]: ...
@overload
def chain(first: _Single, b: AnyNode, c: AnyNode, last: Node[Result[T]], /) -> Chain[T]: ...
@overload
def chain(first: _Single, b: AnyNode, c: AnyNode, d: AnyNode, last: Node[Result[T]], /) -> Chain[T]: ...
@overload
def chain(header: Group[Any], body: TaskSignature[T], /) -> Chord[T]: ...
@overload
def chain(*steps: AnyNode | Iterable[AnyNode]) -> Chain[Any] | Chord[Any]: ...
def chain(*steps: AnyNode | Iterable[AnyNode]) -> Chain[Any] | Chord[Any]:
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


@overload
def group(*members: Group[T] | Iterable[Group[T]], send_concurrency: int | None = None) -> Group[T]: ...
@overload
def group(*members: _Value[T] | Iterable[_Value[T]], send_concurrency: int | None = None) -> Group[T]: ...
@overload
def group(*members: AnyNode | Iterable[AnyNode], send_concurrency: int | None = None) -> Group[Any]: ...
def group(*members: AnyNode | Iterable[AnyNode], send_concurrency: int | None = None) -> Group[Any]:
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

    def __init__(self, header: Group[Any]) -> None:
        self._header = header

    @overload
    def __call__(self, body: Node[Result[T]]) -> ChordResult[T]: ...
    @overload
    def __call__(self, body: AnyNode) -> ChordResult[Any]: ...
    def __call__(self, body: AnyNode) -> ChordResult[Any]:
        """Send the chord with this body, as Celery does."""
        whole: Chord[Any] = Chord(self._header, _body(body))
        return whole.apply_async()


@overload
def chord(header: AnyNode | Iterable[AnyNode], *, send_concurrency: int | None = None) -> _Header: ...
@overload
def chord(
    header: AnyNode | Iterable[AnyNode], body: Node[Result[T]], *, send_concurrency: int | None = None
) -> Chord[T]: ...
@overload
def chord(
    header: AnyNode | Iterable[AnyNode], body: AnyNode, *, send_concurrency: int | None = None
) -> Chord[Any]: ...
def chord(
    header: AnyNode | Iterable[AnyNode], body: AnyNode | None = None, *, send_concurrency: int | None = None
) -> Chord[Any] | _Header:
    """Run ``header`` as a group and then ``body``: ``chord(header, body).delay()`` or ``chord(header)(body)``.

    The body gets every member's results as arguments of its own, in the members' order: it is
    usually declared with ``*args``. With ``si`` it gets none. ``chord(header, body)`` is sent by ``delay()``, by
    ``apply_async()`` or by a call; ``chord(header)(body)`` is sent at once, as in Celery.

    Raises:
        TaskError: the header is empty, or the body is a group.
    """
    if isinstance(header, Group):
        concurrency = header.send_concurrency if send_concurrency is None else send_concurrency
        members: Group[Any] = Group(header.members, concurrency)
    else:
        members = group(header, send_concurrency=send_concurrency)
    return _Header(members) if body is None else Chord(members, _body(body))


@overload
def signature(
    task: Task[..., T, Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    **options: Unpack[OptionSet],
) -> TaskSignature[T]: ...
@overload
def signature(
    task: N, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[OptionSet]
) -> N: ...
@overload
def signature(
    task: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[OptionSet]
) -> NoReturn: ...
def signature(
    task: Any,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    **options: Unpack[OptionSet],
) -> Any:
    """A task's signature, as ``task.s(…)`` makes one; or a copy of a signature or workflow, as ``clone`` makes one.

    A task by its name alone has no app: that is :meth:`App.signature <gearmesh.App.signature>`.

    Raises:
        TaskError: it is neither a task nor a signature.
    """
    from gearmesh.app.task import Task

    if isinstance(task, str):
        raise TaskError(f"signature({task!r}) has no app: use app.signature({task!r})")
    if not isinstance(task, (Node, Task)):
        raise TaskError(f"signature: {task!r:.80} is no task, expected a task or a signature")
    node = task.s() if isinstance(task, Task) else task
    return node.clone(args, kwargs, **options)


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
