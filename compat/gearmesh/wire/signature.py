"""One call of a task in a message: frozen structs with Go's field names, in Go's order.

A chain is a signature nested in a signature through ``OnSuccess``, as deep as Go's decoder
allows (4,999 steps). So nothing here recurses: equality, hash and repr read nested signatures
in a loop or not at all.

Source: ``tasks.Signature`` and ``tasks.Arg`` of Machinery, as recorded in
``tests/golden/signature_codec.jsonl``.
"""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

__all__ = ["Arg", "Int64", "Signature", "UInt8"]

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
UInt8 = Annotated[int, msgspec.Meta(ge=0, le=255)]

_NULL = msgspec.Raw(b"null")


class Arg(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One argument of a call, with the name of its Go type.

    ``Name`` is for people and usually empty. ``Type`` is one of :data:`gearmesh.wire.types.TYPES`
    if Go can read the argument. ``Value`` is canonical JSON text, the form in which Go writes a value
    that it has read: number literals unchanged, strings escaped Go's way, object keys sorted, no spaces.
    :func:`gearmesh.wire.types.arg` makes an argument from a Python value.
    """

    Name: str = ""
    Type: str = ""
    Value: msgspec.Raw = _NULL

    def __hash__(self) -> int:
        return hash((self.Name, self.Type))  # Raw has no hash


class Signature(msgspec.Struct, frozen=True, kw_only=True, eq=False, forbid_unknown_fields=True):
    """One call of a task, as a message holds it. It is frozen; :meth:`evolve` makes a changed copy.

    Attributes:
        UUID: ``task_<uuid4>`` or ``chord_<uuid4>``; the sender fills in an empty one.
        Name: the task's registered name.
        RoutingKey: the queue; ``""`` is the default queue of the sender.
        ETA: the time before which the task must not run, as canonical RFC 3339 text; None: it may run at once.
        GroupUUID, GroupTaskCount: the group of which it is a member, and its size; ``""`` and 0: it is in no group.
        Args: None and ``()`` are ``null`` and ``[]`` on the wire and mean the same.
        Headers: names to canonical JSON text; None is ``null``.
        Priority: 0 to 255; only some brokers look at it.
        Immutable: True: a result is not passed on; :mod:`gearmesh.wire.workflow` says which.
        RetryCount: retries left. RetryTimeout: seconds before the last retry.
        OnSuccess, OnError: signatures to send after the task. An element is None only if another
            program wrote ``null``.
        ChordCallback: the signature to send once every member of the group is SUCCESS.
        BrokerMessageGroupId, SQSReceiptHandle, StopTaskDeletionOnError: for SQS only.
        IgnoreWhenTaskNotRegistered: True: a worker that has not registered the name drops the message.
    """

    UUID: str = ""
    Name: str = ""
    RoutingKey: str = ""
    ETA: str | None = None
    GroupUUID: str = ""
    GroupTaskCount: Int64 = 0
    Args: tuple[Arg, ...] | None = None
    Headers: dict[str, msgspec.Raw] | None = None
    Priority: UInt8 = 0
    Immutable: bool = False
    RetryCount: Int64 = 0
    RetryTimeout: Int64 = 0
    OnSuccess: tuple[Signature | None, ...] | None = None
    OnError: tuple[Signature | None, ...] | None = None
    ChordCallback: Signature | None = None
    BrokerMessageGroupId: str = ""
    SQSReceiptHandle: str = ""
    StopTaskDeletionOnError: bool = False
    IgnoreWhenTaskNotRegistered: bool = False

    def evolve(self, **changes: Any) -> Signature:
        """Return a copy with these fields changed. TypeError for a name that is not a field."""
        return msgspec.structs.replace(self, **changes)

    def nested(self) -> bool:
        """Return True if this signature has others in it: follow-up tasks, or a callback."""
        return self.ChordCallback is not None or bool(self.OnSuccess) or bool(self.OnError)

    def children(self) -> list[Signature]:
        """Return the signatures directly below, in the order in which they are written, without nulls."""
        below = [s for s in (*(self.OnSuccess or ()), *(self.OnError or ())) if s is not None]
        if self.ChordCallback is not None:
            below.append(self.ChordCallback)
        return below

    def walk(self) -> Iterator[tuple[int, Signature]]:
        """Yield this signature and all below it, each with its level (0 for this one), parents first."""
        yield 0, self
        if not self.nested():
            return
        stack = [(1, child) for child in reversed(self.children())]
        while stack:
            level, sig = stack.pop()
            yield level, sig
            if sig.nested():
                stack += [(level + 1, child) for child in reversed(sig.children())]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Signature):
            return NotImplemented
        stack: list[tuple[Signature | None, Signature | None]] = [(self, other)]
        while stack:
            one, two = stack.pop()
            if one is two:
                continue
            if one is None or two is None or _flat(one) != _flat(two):
                return False
            for left, right in ((one.OnSuccess, two.OnSuccess), (one.OnError, two.OnError)):
                if left is not None and right is not None:
                    stack.extend(zip(left, right, strict=True))
            stack.append((one.ChordCallback, two.ChordCallback))
        return True

    def __hash__(self) -> int:
        return hash((self.UUID, self.Name, self.RoutingKey, self.ETA, self.GroupUUID, self.RetryCount))

    def __repr__(self) -> str:
        """Show Name, UUID and each field that is not zero, but of nested signatures only their number or name."""
        return f"Signature({', '.join(f'{name}={value}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown: list[tuple[str, Any]] = [("Name", repr(self.Name)), ("UUID", repr(self.UUID))]
        for name in self.__struct_fields__[2:]:
            value = getattr(self, name)
            if value is None or not value:
                continue
            if isinstance(value, tuple):
                shown.append((name, f"<{len(value)}>"))
            elif isinstance(value, Signature):
                shown.append((name, f"<{value.Name}>"))
            else:
                shown.append((name, list(value) if isinstance(value, dict) else reprlib.repr(value)))
        return shown


_own_fields = operator.attrgetter(
    *(name for name in Signature.__struct_fields__ if name not in ("OnSuccess", "OnError", "ChordCallback"))
)


def _flat(sig: Signature) -> tuple[Any, ...]:
    """Return the fields without nested signatures, and the lengths of the nested lists."""
    lengths = (None if below is None else len(below) for below in (sig.OnSuccess, sig.OnError))
    return (*_own_fields(sig), *lengths)
