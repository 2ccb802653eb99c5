"""Plans workflows: makes the signatures, group metas and results that they need.

A plan begins at the end of a workflow, since a signature holds its successors. On the wire, ``si`` is the *parent's*
flag Immutable: it keeps the parent's results from all its successors. Only a chord's body has the flag itself, which
then also keeps the body's results from the body's successors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gearmesh.app.canvas import AnyNode, Chain, Chord, Group, TaskSignature
from gearmesh.app.capabilities import PlanTarget
from gearmesh.app.options import NOTHING, Options, check_delay
from gearmesh.declarations.value_codec import ValueCodec, of_go
from gearmesh.errors import TaskError
from gearmesh.ids import new_uuid
from gearmesh.results.async_result import AsyncResult, Result
from gearmesh.results.composite import ChainResult, ChordResult, GroupResult
from gearmesh.wire import gotime
from gearmesh.wire.codec import decode, encode
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import GroupMeta
from gearmesh.wire.template import SignatureTemplate

__all__ = ["EncodedMessage", "Plan", "PlannedMessage"]


class EncodedMessage(msgspec.Struct, frozen=True, gc=False):
    """A signature as bytes, to publish not before ``eta_ns`` (unix ns; 0: now), and the fields that a sender needs.

    ``new_uuid``: True: its UUID was made for this call, and no state is stored under it before the message is sent.
    """

    uuid: str
    name: str
    queue: str
    body: bytes
    eta_ns: int = 0
    priority: int = 0
    new_uuid: bool = False

    @property
    def sig(self) -> Signature:
        """The signature, decoded from the bytes. Few callers need it."""
        return decode(self.body)

    def written(self) -> EncodedMessage:
        """Return this message, which is already encoded."""
        return self


class PlannedMessage(msgspec.Struct, frozen=True, gc=False):
    """A signature to publish, not before ``eta_ns`` (unix ns; 0: now)."""

    sig: Signature
    eta_ns: int = 0

    def written(self) -> EncodedMessage:
        """Encode the message. Raises LocalProtocolError if Go could not read it."""
        sig = self.sig
        return EncodedMessage(sig.UUID, sig.Name, sig.RoutingKey, encode(sig), self.eta_ns, sig.Priority)


class _GroupBuild(msgspec.Struct):
    """A group that is being planned. The last task of each member carries these fields.

    Attributes:
        members: (UUID, name) of each of these tasks.
        templates: the templates of members without options, by the template of the same task outside of the group.
    """

    group_uuid: str
    count: int
    callback: Signature | None
    members: list[tuple[str, str]]
    templates: dict[SignatureTemplate, SignatureTemplate]

    def template(self, of: SignatureTemplate) -> SignatureTemplate:
        """Return the template of a task as a member of this group."""
        found = self.templates.get(of)
        if found is None:
            found = self.templates[of] = of.in_group(self.group_uuid, self.count, self.callback)
        return found


class _Position(msgspec.Struct, frozen=True):
    """The place of a node in its workflow, with the arguments that other tasks add to those of its first tasks."""

    before: tuple[ValueCodec, ...] = ()
    after: Sequence[ValueCodec] | None = ()
    first: bool = False
    body: bool = False


class _Continuation(msgspec.Struct, frozen=True):
    """The signatures that follow a node, and whether they want its results."""

    sigs: tuple[Signature, ...] = ()
    wants: frozenset[bool] = frozenset()


_NOTHING_MORE = _Continuation()
_FIRST = _Position(first=True)
_ERROR_TEXT = of_go("string")
#: A planned node: messages for the tasks that it begins with, and its result.
Planned = tuple[Sequence[PlannedMessage | EncodedMessage], Result[Any]]


class Plan:
    """Holds the signatures, group metas and states of some workflows before the first byte is sent.

    Attributes:
        messages: the messages to publish, in order.
        metas: the group metas to store before the messages are sent.
        members: (UUID, name) of all groups' members, whose PENDING states are stored before the messages are sent.
        connections: the number of connections that may send.
    """

    def __init__(self, app: PlanTarget, now_ns: int, defaults: Options = NOTHING) -> None:
        self.app = app
        self.now_ns = now_ns
        self.messages: list[PlannedMessage | EncodedMessage] = []
        self.metas: list[GroupMeta] = []
        self.members: list[tuple[str, str]] = []
        self.connections = 1
        self._routing_key = app.config.default_routing_key
        self._defaults = defaults

    def add(self, node: AnyNode) -> Result[Any]:
        """Plan one workflow. Raises TaskError or LocalProtocolError if it cannot be sent."""
        if type(node) is TaskSignature and node.task.app is self.app:
            return self.add_one(node)
        messages, result = self._node(node, _NOTHING_MORE, None, _FIRST)
        self.messages.extend(messages)
        return result

    def add_one(self, call: TaskSignature[Any]) -> AsyncResult[Any]:
        """Plan a single signature; see :meth:`add`."""
        message, result = self._simple(call, None) or self._one(call, _NOTHING_MORE, None, _FIRST)
        self.messages.append(message)
        return result

    def _simple(
        self, call: TaskSignature[Any], tag: _GroupBuild | None
    ) -> tuple[EncodedMessage, AsyncResult[Any]] | None:
        """Plan a task without predecessors and successors, whose call has positional arguments and no options. Most
        tasks are such.

        None: it is no such task, or an argument is wrong.
        """
        task = call.task
        if call.kwargs or not (call.options is task.options is self._defaults is NOTHING):
            return None
        form = task.template(self._routing_key)
        values = None if form is None else task.declaration.dump_values(call.args)
        if form is None or values is None:
            return None
        uuid = f"task_{new_uuid()}"
        if tag is None:
            new = task.unique_for is None  # the PENDING state of a task with unique_for is stored first
        else:
            form, new = tag.template(form), False
            tag.members.append((uuid, form.name))
        message = EncodedMessage(uuid, form.name, form.routing_key, form.fill(uuid, values), new_uuid=new)
        return message, AsyncResult(uuid, self.app, task.declaration, sent_ns=self.now_ns)

    def _node(self, node: AnyNode, then: _Continuation, tag: _GroupBuild | None, place: _Position) -> Planned:
        if node.app is not self.app and node.app is not self.app.twin_of:
            raise TaskError(f"{node!r:.80} belongs to another app than the one that sends it")
        if isinstance(node, TaskSignature):
            message, result = self._one(node, then, tag, place)
            return [message], result
        if isinstance(node, Chain):
            return self._chain(node, then, tag, place)
        if isinstance(node, Chord):
            return self._chord(node, then, tag, place)
        if isinstance(node, Group):
            return self._group(node, then, tag, place)
        raise TaskError(f"{node!r:.80} is no signature, chain, group or chord")

    def _one(
        self, node: TaskSignature[Any], then: _Continuation, tag: _GroupBuild | None, place: _Position
    ) -> tuple[PlannedMessage, AsyncResult[Any]]:
        """One task's signature, with all that follows it."""
        task = node.task
        options = node.options.over(self._defaults if place.first else self._defaults.without_time()).over(
            task.options
        )
        if options.countdown_ns is not None and not place.first:
            raise TaskError(
                f"task {task.name!r}: countdown, but another task runs before it, and a message carries a time, not a "
                "delay: use eta"
            )
        args = task.declaration.dump_args(
            node.args, node.kwargs, before=place.before, after=() if options.immutable else place.after
        )
        errors: list[Signature] = []
        if options.on_success:
            then = self._with_own(node, options.on_success, then)
        for child in options.on_error or ():
            messages, _ = self._node(child, _NOTHING_MORE, None, _Position(before=(_ERROR_TEXT,)))
            errors.extend(message.sig for message in messages)
        if options.queue:
            self.app.check_queue(options.queue)
        eta, eta_ns = options.due(self.now_ns)
        if eta_ns:
            check_delay(task.name, eta_ns, self.now_ns, self.app.config.max_delay)
        sig = Signature(
            UUID=options.uuid or f"{'chord' if place.body else 'task'}_{new_uuid()}",
            Name=task.name,
            RoutingKey=options.queue or self._routing_key,
            ETA=eta,
            GroupUUID=tag.group_uuid if tag else "",
            GroupTaskCount=tag.count if tag else 0,
            Args=args,
            Headers=dict(options.all_headers(self.now_ns)),
            Priority=options.priority or 0,
            Immutable=_immutable(node, then, place),
            RetryCount=options.retry_count or 0,
            RetryTimeout=options.retry_timeout or 0,
            OnSuccess=then.sigs or None,
            OnError=tuple(errors) or None,
            ChordCallback=tag.callback if tag else None,
            BrokerMessageGroupId=options.message_group or "",
            StopTaskDeletionOnError=bool(options.keep_on_error),
            IgnoreWhenTaskNotRegistered=bool(options.ignore_unregistered),
        )
        if tag:
            tag.members.append((sig.UUID, sig.Name))
        return PlannedMessage(sig, eta_ns), AsyncResult(sig.UUID, self.app, task.declaration)

    def _with_own(
        self, node: TaskSignature[Any], children: Sequence[AnyNode], then: _Continuation
    ) -> _Continuation:
        """The successors in the signature's own ``on_success``, and then those of its place in the workflow."""
        place = _Position(after=_results_of(node))
        sigs: list[Signature] = []
        wants = set(then.wants)
        for child in children:
            messages, _ = self._node(child, _NOTHING_MORE, None, place)
            sigs.extend(message.sig for message in messages)
            wants |= _wants(child)
        return _Continuation((*sigs, *then.sigs), frozenset(wants))

    def _chain(
        self, node: Chain[Any], then: _Continuation, tag: _GroupBuild | None, place: _Position
    ) -> Planned:
        results: list[Result[Any]] = []
        messages: Sequence[PlannedMessage | EncodedMessage] = []
        last = len(node.steps) - 1
        for i in range(last, -1, -1):
            step = node.steps[i]
            here = place if i == 0 else _Position(after=_results_of(node.steps[i - 1]))
            messages, result = self._node(step, then, tag if i == last else None, here)
            results.append(result)
            then = _Continuation(tuple(message.sig for message in messages), _wants(step))
        return messages, ChainResult(results[::-1], self.app)

    def _group(
        self, node: Group[Any], then: _Continuation, tag: _GroupBuild | None, place: _Position
    ) -> tuple[Sequence[PlannedMessage | EncodedMessage], GroupResult[Any]]:
        if then.sigs or place.body:
            raise TaskError(f"{node!r:.80}: one task can follow a group, and no group can be a chord's body")
        own = tag or self._new_group(node, None)
        messages, result = self._members(node, own, place)
        if tag is None:
            self._close_group(own)
        return messages, result

    def _chord(
        self, node: Chord[Any], then: _Continuation, tag: _GroupBuild | None, place: _Position
    ) -> Planned:
        if place.body:
            raise TaskError(f"{node!r:.80}: no group can be a chord's body; put a task between them")
        if not self.app.keeps_results:
            raise TaskError(
                "a chord needs a result backend: its members' states decide when the body is sent"
            )
        behind = _Position(after=_results_of(node.header), body=True)
        (callback,), body = self._node(node.body, then, tag, behind)
        own = self._new_group(node.header, callback.sig)
        messages, header = self._members(node.header, own, place)
        self._close_group(own)
        for member in header.tasks:
            member._in_chord = True
        return messages, ChordResult(header, body, self.app)

    def _members(
        self, node: Group[Any], tag: _GroupBuild, place: _Position
    ) -> tuple[Sequence[PlannedMessage | EncodedMessage], GroupResult[Any]]:
        messages: list[PlannedMessage | EncodedMessage] = []
        results: list[Result[Any]] = []
        for member in node.members:
            simple = None
            if type(member) is TaskSignature and place is _FIRST and member.task.app is self.app:
                simple = self._simple(member, tag)
            if simple is None:
                more, result = self._node(member, _NOTHING_MORE, tag, place)
                messages.extend(more)
            else:
                message, result = simple
                messages.append(message)
            results.append(result)
        own = node.send_concurrency
        self.connections = max(self.connections, self.app.config.send_concurrency if own is None else own)
        return messages, GroupResult(tag.group_uuid, results, self.app)

    def _new_group(self, node: Group[Any], callback: Signature | None) -> _GroupBuild:
        return _GroupBuild(f"group_{new_uuid()}", _width(node), callback, [], {})

    def _close_group(self, tag: _GroupBuild) -> None:
        created = gotime.format_ns(self.now_ns)
        uuids = tuple(uuid for uuid, _ in tag.members)
        self.metas.append(GroupMeta(GroupUUID=tag.group_uuid, TaskUUIDs=uuids, CreatedAt=created))
        self.members.extend(tag.members)


def _immutable(node: TaskSignature[Any], then: _Continuation, place: _Position) -> bool:
    """The flag Immutable of ``node``. Raises TaskError if one flag cannot express what the successors want."""
    wants = then.wants
    if len(wants) > 1:
        raise TaskError(
            f"{node!r:.80} is followed by signatures of both kinds, s and si: on the wire all of them "
            "get its results or none does (the parent's Immutable)"
        )
    if place.body:
        # Go: a callback's own flag means both "take no results" and "pass none on".
        if node.immutable and True in wants:
            raise TaskError(
                f"{node!r:.80} is a chord's body that wants no results (si) but is followed by a "
                "signature that wants its own: on the wire one flag says both"
            )
        if not node.immutable and False in wants:
            raise TaskError(
                f"{node!r:.80} is a chord's body that wants results but is followed by a signature "
                "that wants none (si): on the wire one flag says both"
            )
        return node.immutable
    return False in wants


def _wants(node: AnyNode) -> frozenset[bool]:
    """For the tasks with which a node begins: has True if one wants the results of the step before, False if not."""
    while isinstance(node, Chain):
        node = node.steps[0]
    if isinstance(node, TaskSignature):
        return frozenset((not node.immutable,))
    group = node.header if isinstance(node, Chord) else node
    return frozenset().union(*map(_wants, group.members if isinstance(group, Group) else ()))


def _results_of(node: AnyNode) -> Sequence[ValueCodec] | None:
    """The types of the results that the end of a node passes on; None: unknown."""
    node = _end_of(node)
    if isinstance(node, TaskSignature):
        return node.task.declaration.results
    given: list[ValueCodec] = []
    for member in node.members:
        codecs = _results_of(member)
        if codecs is None:
            return None
        given.extend(codecs)
    return given


def _width(node: AnyNode) -> int:
    """The number of tasks that a node ends with, which count as members of its group."""
    node = _end_of(node)
    return 1 if isinstance(node, TaskSignature) else sum(map(_width, node.members))


def _end_of(node: AnyNode) -> TaskSignature[Any] | Group[Any]:
    """The task or the group that a node ends with."""
    while not isinstance(node, (TaskSignature, Group)):
        node = node.steps[-1] if isinstance(node, Chain) else node.body  # type: ignore[attr-defined]
    return node
