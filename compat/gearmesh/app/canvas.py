"""Workflows: ``chain``, ``group`` and ``chord``, as far as a Machinery signature can express them.

=========================  =====================================================================
on the wire                means
=========================  =====================================================================
``OnSuccess``              the task that follows a step; several tasks are a group behind it
``GroupUUID`` and meta     the tasks that give a group's values; for a member chain, its last step
``ChordCallback``          one task that follows a whole group
=========================  =====================================================================

So a signature cannot express two groups in a row, nor a group as a chord's body. Both raise TaskError, which advises to
put a task between them. A group within a group means the same as its members in its place.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, overload

from gearmesh.app.capabilities import TaskSender
from gearmesh.app.options import NOTHING, Options, OptionSet, Workflow, options_of
from gearmesh.declarations.declaration import Declaration
from gearmesh.errors import TaskError
from gearmesh.habits import NODE, one_of, refuse
from gearmesh.results.async_result import AsyncResult, Result
from gearmesh.results.composite import ChainResult, ChordResult, GroupResult
from gearmesh.wire.template import SignatureTemplate

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = ["AnyNode", "Chain", "Change", "Chord", "Group", "Node", "TaskSignature", "chain", "chord", "group"]

T = TypeVar("T")
S = TypeVar("S")
T_co = TypeVar("T_co", covariant=True)
#: A node that makes a chain with the node that follows it. (A group makes a chord.)
_Single: TypeAlias = "TaskSignature[Any] | Chain[Any]"
#: A node with one value.
_Value: TypeAlias = "TaskSignature[T] | Chain[T] | Chord[T]"

#: Types that are iterable, but are no lists of signatures.
_TEXT: tuple[type[Any], ...] = (str, bytes)


#: The type of the value of one task.
V_co = TypeVar("V_co", covariant=True)
#: The class of a node's result.
R_co = TypeVar("R_co", bound="Result[Any]", covariant=True)
#: The nodes that make a chain with the node that follows them; a group makes a chord.
_NotGroup: TypeAlias = "Node[AsyncResult[Any]] | Node[ChainResult[Any]] | Node[ChordResult[Any]]"
#: Called with a signature of a workflow, whether the workflow begins with it, and whether it ends with it; returns the
#: signature to put in its place.
Change: TypeAlias = "Callable[[TaskSignature[Any], bool, bool], TaskSignature[Any]]"


class SendableTask(Protocol):
    """The part of a :class:`~gearmesh.Task` that its signatures use."""

    @property
    def name(self) -> str:
        """The name on the wire."""

    @property
    def app(self) -> TaskSender:
        """The app that sends it. Raises TaskError while it belongs to no app."""

    @property
    def declaration(self) -> Declaration:
        """Its parameters and results."""

    @property
    def options(self) -> Options:
        """The options of its calls, unless a call has others."""

    @property
    def unique_for(self) -> float | None:
        """Seconds for which the same call is not queued again; None: each call is queued."""

    def template(self, routing_key: str) -> SignatureTemplate | None:
        """Its encoded signature on one queue, with gaps for UUID and arguments; None: a parameter takes any type."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function here and now."""


class Node(Workflow, ABC, Generic[R_co]):
    """A part of a workflow: a signature, chain, group or chord. It is immutable: a method that changes it returns a
    copy."""

    __slots__ = ()

    @property
    @abstractmethod
    def app(self) -> TaskSender:
        """The app that sends it."""

    @abstractmethod
    def mapped(self, change: Change, first: bool = True, last: bool = True) -> Self:
        """A copy in which ``change`` has replaced each signature.

        Args:
            change: called with the signature, ``first`` and ``last``.
            first: True if the whole workflow begins with this node.
            last: True if the whole workflow ends with this node.
        """

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
        if not isinstance(other, Node):
            return NotImplemented
        return chain(self, other)

    if not TYPE_CHECKING:  # with __getattr__, a type checker would accept every name

        def __getattr__(self, name: str) -> Any:
            refuse(NODE, one_of(type(self)), self, name)

    def with_args(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> Self:
        """A copy whose first task gets these arguments in front of its own, as in Celery.

        If the workflow begins with a group, each of its members gets them.

        Args:
            kwargs: arguments by name. They replace arguments of the same name.

        Raises:
            TaskError: a first task was made with ``si``, so it takes no more arguments.
        """
        if not args and not kwargs:
            return self
        return self.mapped(lambda sig, first, last: sig.with_own_args(args, kwargs or {}) if first else sig)

    def set(self, **options: Unpack[OptionSet]) -> Self:
        """A copy with these options. In a workflow, the options of its parts win over these.

        An ETA or countdown applies to the first part(s), ``on_success`` to the last part, and all other options to each
        part.

        Raises:
            TaskError, LocalProtocolError: an option cannot be sent, or does not fit a whole workflow.
        """
        given = _of_workflow(options_of("workflow", dict(options)))
        later = given.without_time()
        followed = self._followed(given)
        return followed.mapped(lambda sig, first, last: sig.with_defaults(given if first else later))

    def on_success(self, *nodes: AnyNode) -> Self:
        """A copy in which these nodes run as well after its last task, if that succeeds.

        Raises:
            TaskError: it ends with a group. Only one task can follow a group: write ``chord(header, body)``.
        """
        return self._followed(options_of("workflow", {"on_success": nodes}))

    def on_error(self, *nodes: AnyNode) -> Self:
        """A copy in which these nodes run as well if one of its tasks fails.

        The error's text is put in front of their arguments.
        """
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
        """Send it with these options.

        A single signature: these options win over its own. A workflow: the options of its parts win over these, see
        :meth:`set`.

        Args:
            args: values to put in front of the arguments of each task with which the workflow begins.
            kwargs: arguments by name. They replace arguments of the same name.

        Raises:
            TaskError, LocalProtocolError: a task cannot be sent. Then nothing was sent.
            PublishError: the broker did not take it in time.
        """
        return self._sent_by(self.app, args, kwargs, options)

    def apply(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[OptionSet]
    ) -> R_co:
        """Run the whole workflow at once and in this process; see :meth:`Task.apply`.

        Raises:
            TaskError: a task is remote, or the call does not fit.
        """
        return self._sent_by(self.app.eager_twin, args, kwargs, options)

    def _sent_by(
        self, app: TaskSender, args: Sequence[Any], kwargs: Mapping[str, Any] | None, options: OptionSet
    ) -> R_co:
        node, given = self._prepared(args, kwargs, options)
        result: R_co = app.send(node, given)
        return result

    def _prepared(
        self, args: Sequence[Any], kwargs: Mapping[str, Any] | None, options: OptionSet
    ) -> tuple[Self, Options]:
        """The node to send, and the options to send it with."""
        given = _of_workflow(options_of("workflow", dict(options)))
        return self.with_args(args, kwargs)._followed(given), given.without_successors()

    def delay(self, *args: Any, **kwargs: Any) -> R_co:
        """Send it, with these arguments in front of the first task's own; see :meth:`with_args`."""
        return self.apply_async(args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> R_co:
        """Do the same as :meth:`delay`. (A call of a single task's signature runs the task here.)"""
        return self.apply_async(args, kwargs)

    def clone(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[OptionSet]
    ) -> Self:
        """A copy with these options, and with these arguments in front; see :meth:`with_args`."""
        node = self.with_args(args, kwargs)
        return node.set(**options) if options else node

    async def aapply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[OptionSet]
    ) -> R_co:
        """Do the same as :meth:`apply_async` without blocking the event loop."""
        node, given = self._prepared(args, kwargs, options)
        result: R_co = await self.app.asend(node, given)
        return result

    async def adelay(self, *args: Any, **kwargs: Any) -> R_co:
        """Do the same as :meth:`delay` without blocking the event loop."""
        return await self.aapply_async(args, kwargs)


AnyNode: TypeAlias = "Node[Any]"


class TaskSignature(Node[AsyncResult[V_co]]):
    """One call of a task, which you can send or make a part of a workflow. No method changes it.

    The app checks the arguments only when it sends the signature, because more arguments may come to it: in a chain the
    results of the step before are appended, and in ``on_error`` the error's text is put in front.
    """

    __slots__ = ("args", "kwargs", "options", "task")

    task: SendableTask
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    options: Options

    def __init__(
        self,
        task: SendableTask,
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
    def app(self) -> TaskSender:
        return self.task.app

    @property
    def immutable(self) -> bool:
        """True if it takes no results from the step before."""
        return bool(self.options.immutable)

    def mapped(self, change: Change, first: bool = True, last: bool = True) -> Self:
        return change(self, first, last)  # type: ignore[return-value]

    def with_own_args(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Self:
        """A copy with these arguments in front of its own; see :meth:`with_args`."""
        if self.immutable:
            raise TaskError(f"{self!r:.80} takes no more arguments: it was made by si, or is immutable")
        return type(self)(self.task, (*args, *self.args), {**self.kwargs, **kwargs}, self.options)

    def with_defaults(self, options: Options) -> Self:
        """A copy with these options added. The signature's own options win over them."""
        if options is NOTHING:
            return self
        own = self.options.over(options.without_successors())
        return type(self)(self.task, self.args, self.kwargs, own)

    def followed_by(self, success: Sequence[AnyNode], error: Sequence[AnyNode]) -> Self:
        """A copy with these nodes added to its ``on_success`` and its ``on_error``."""
        if not success and not error:
            return self
        more: dict[str, Any] = {}
        if success:
            more["on_success"] = (*(self.options.on_success or ()), *success)
        if error:
            more["on_error"] = (*(self.options.on_error or ()), *error)
        return self.set(**more)

    def set(self, **options: Unpack[OptionSet]) -> Self:
        """A copy with these options. Raises TaskError or LocalProtocolError for an option that cannot be sent."""
        given = options_of(self.task.name, dict(options))
        return type(self)(self.task, self.args, self.kwargs, given.over(self.options))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task here and now, as Celery does; nothing is sent."""
        call = self.with_args(args, kwargs)
        return call.task(*call.args, **call.kwargs)

    def _sent_by(
        self, app: TaskSender, args: Sequence[Any], kwargs: Mapping[str, Any] | None, options: OptionSet
    ) -> AsyncResult[V_co]:
        result: AsyncResult[V_co] = app.send_call(self.clone(args, kwargs, **options))
        return result

    async def aapply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[OptionSet]
    ) -> AsyncResult[V_co]:
        result: AsyncResult[V_co] = await self.app.asend_call(self.clone(args, kwargs, **options))
        return result


class Chain(Node[ChainResult[T_co]]):
    """Steps that run one after another. Each gets the results of the step before, after its own arguments."""

    __slots__ = ("steps",)

    def __init__(self, steps: tuple[AnyNode, ...]) -> None:
        self.steps = steps

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.steps))

    @property
    def app(self) -> TaskSender:
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
    def app(self) -> TaskSender:
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
    """A group and a body. The body runs once all members have succeeded, and gets their results."""

    __slots__ = ("body", "header")

    def __init__(self, header: Group[Any], body: AnyNode) -> None:
        self.header = header
        self.body = body

    def __repr__(self) -> str:
        return f"chord({self.header!r}, {self.body!r})"

    @property
    def app(self) -> TaskSender:
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

    A group with a step after it becomes a chord.

    Raises:
        TaskError: there are no steps, or two groups follow one another.
    """
    flat = (node.steps if isinstance(node, Chain) else (node,) for node in _nodes("chain", steps))
    joined: list[AnyNode] = []
    for step in itertools.chain.from_iterable(flat):
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
        send_concurrency: the number of connections that send the members. gearmesh sends batches of 256 members, so one
            connection (0 or 1) is enough unless the broker is far away. With more connections the members may be queued
            in another order than in the group. None: the app's setting.

    Raises:
        TaskError: there are no members.
    """
    if send_concurrency is not None and send_concurrency < 0:
        raise TaskError(f"group: send_concurrency is {send_concurrency!r}, expected 0 or more")
    flat = (node.members if isinstance(node, Group) else (node,) for node in _nodes("group", members))
    return Group(tuple(itertools.chain.from_iterable(flat)), send_concurrency)


class _Header:
    """The value of ``chord(header)``, to be called with the body."""

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

    The body gets every member's results as arguments of its own, in the members' order: it is usually declared with
    ``*args``. If the body was made with ``task.si(…)``, it gets no results. ``chord(header, body)`` is only built: to
    send it, call it, or its ``delay()`` or ``apply_async()``. ``chord(header)(body)`` is sent at once, as in Celery.

    Raises:
        TaskError: the header is empty, or the body is a group.
    """
    if isinstance(header, Group):
        concurrency = header.send_concurrency if send_concurrency is None else send_concurrency
        members: Group[Any] = Group(header.members, concurrency)
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


def _of_workflow(options: Options) -> Options:
    if options.uuid or options.immutable is not None:
        raise TaskError("uuid and immutable belong to a signature, not to a whole workflow")
    return options
