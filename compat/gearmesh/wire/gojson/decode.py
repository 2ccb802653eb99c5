"""The slow and exact decoder. It reads all bytes that Go reads, in the same way."""

from __future__ import annotations

from typing import Any

import msgspec

from gearmesh.errors import RemoteProtocolError
from gearmesh.wire.gojson.fill import Memory, fill
from gearmesh.wire.gojson.read import read
from gearmesh.wire.gojson.shape import Anything, ListOf, Map, Scalar, Shape, StructOf, Time
from gearmesh.wire.signature import Arg, Signature
from gearmesh.wire.state import GroupMeta, TaskResult, TaskState

__all__ = [
    "GROUP_SHAPE",
    "SIGNATURE_SHAPE",
    "STATE_SHAPE",
    "decode_group",
    "decode_signature",
    "decode_state",
]

_STRING = Scalar("string", "")
_INT64 = Scalar("int64", 0, -(2**63), 2**63 - 1)
#: The Go type of a field by the Python type of its zero value, unless ``_struct`` gets another one.
_SCALARS: dict[type, Shape] = {
    str: _STRING,
    bool: Scalar("bool", False),
    int: Scalar("int", 0, -(2**63), 2**63 - 1),
}


def _struct(kind: type[msgspec.Struct], pointer: bool, **said: Shape) -> StructOf:
    """Return the shape of a struct: fields that are not ``said`` are scalars, by the type of their zero values."""
    zeros = dict(zip(kind.__struct_fields__, kind.__struct_defaults__, strict=True))
    shapes = {name: _SCALARS[type(zero)] for name, zero in zeros.items() if type(zero) in _SCALARS} | said
    return StructOf(kind.__name__, pointer, {name.upper(): (name, shape) for name, shape in shapes.items()})


def _signature() -> StructOf:
    shape = _struct(
        Signature,
        True,
        ETA=Time(pointer=True),
        Args=ListOf("[]tasks.Arg", _struct(Arg, False, Value=Anything())),
        Headers=Map("tasks.Headers"),
        Priority=Scalar("uint8", 0, 0, 255),
    )
    several = ListOf("[]*tasks.Signature", shape)
    shape.fields["ONSUCCESS"] = ("OnSuccess", several)
    shape.fields["ONERROR"] = ("OnError", several)
    shape.fields["CHORDCALLBACK"] = ("ChordCallback", shape)
    return shape


#: Go's structs, as shapes.
SIGNATURE_SHAPE = _signature()
_RESULTS = ListOf("[]*tasks.TaskResult", _struct(TaskResult, True, Value=Anything()))
STATE_SHAPE = _struct(TaskState, False, Results=_RESULTS, CreatedAt=Time(pointer=False), TTL=_INT64)
GROUP_SHAPE = _struct(
    GroupMeta, False, TaskUUIDs=ListOf("[]string", _STRING), CreatedAt=Time(pointer=False), TTL=_INT64
)


def decode_signature(data: bytes) -> Signature:
    """Decode as :func:`gearmesh.wire.codec.decode` does, without its fast path."""
    order = [fill(read(data)[0], SIGNATURE_SHAPE)]
    for memory in order:  # the list grows: nested signatures come after their parents
        for name in ("OnSuccess", "OnError"):
            order += [below for below in _items(memory.get(name)) or () if below is not None]
        if memory.get("ChordCallback") is not None:
            order.append(memory["ChordCallback"])
    made: dict[int, Signature] = {}
    for memory in reversed(order):
        fields = dict(memory)
        _require_written(fields, "ETA")
        args = _items(memory.get("Args"))
        if args is not None:
            fields["Args"] = tuple(Arg(**arg) for arg in args)
        for name in ("OnSuccess", "OnError"):
            nested = _items(memory.get(name))
            if nested is not None:
                fields[name] = tuple(None if n is None else made[id(n)] for n in nested)
        if memory.get("ChordCallback") is not None:
            fields["ChordCallback"] = made[id(memory["ChordCallback"])]
        if memory.get("Headers") is not None:
            fields["Headers"] = dict(sorted(memory["Headers"].items()))
        made[id(memory)] = Signature(**fields)
    return made[id(order[0])]


def decode_state(data: bytes) -> TaskState:
    """Decode as :func:`gearmesh.wire.codec.decode_state` does, without its fast path."""
    memory = fill(read(data)[0], STATE_SHAPE)
    _require_written(memory, "CreatedAt")
    results = _items(memory.pop("Results", None))
    if results is not None:
        if None in results:
            # Go: reads a nil pointer here, on which a caller panics, and a worker that collects a chord's results.
            raise RemoteProtocolError("Results holds a null")
        results = tuple(TaskResult(**result) for result in results)
    return TaskState(Results=results, **memory)


def decode_group(data: bytes) -> GroupMeta:
    """Decode as :func:`gearmesh.wire.codec.decode_group` does, without its fast path."""
    memory = fill(read(data)[0], GROUP_SHAPE)
    _require_written(memory, "CreatedAt")
    uuids = _items(memory.pop("TaskUUIDs", None))
    return GroupMeta(TaskUUIDs=tuple(uuids or ()), **memory)


def _require_written(memory: Memory, field: str) -> None:
    """Raise the error of a time that Go cannot write, unless a later key of the document has replaced the time."""
    if isinstance(error := memory.get(field), RemoteProtocolError):
        raise error


def _items(slice_: Any) -> Any:
    """Return the elements in use of a Go slice, as a list; None for nil."""
    return None if slice_ is None else slice_.memory[: slice_.length]
