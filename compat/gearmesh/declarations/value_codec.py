"""Translates one annotation to a Go type, and its values between Python and the wire."""

from __future__ import annotations

import collections.abc
import typing
from collections.abc import Callable
from typing import Any, get_args, get_origin

import msgspec

from gearmesh.errors import LocalProtocolError, RemoteProtocolError, TaskError
from gearmesh.types import GoType, Packed
from gearmesh.wire import types as wire
from gearmesh.wire.signature import Arg
from gearmesh.wire.state import TaskResult

__all__ = ["ANY", "ValueCodec", "of_annotation", "of_go", "results_of"]

_PLAIN: dict[Any, str] = {bool: "bool", int: "int64", float: "float64", str: "string", bytes: "[]byte"}
_LISTS = (list, collections.abc.Sequence)
_EXPECTED = (
    "expected bool, int, float, str, bytes, list[…], a name from gearmesh.types, Json[…] or Msgpack[…]"
)


class ValueCodec(msgspec.Struct, frozen=True):
    """Converts values of one parameter or one result between Python and the wire.

    Attributes:
        go: the Go type of the values on the wire; "" for a parameter without annotation, which takes any type.
        accepts: the type names on the wire that mean this Go type; empty for any type.
        read: converts a wire value of exactly the type ``go`` to the Python value; raises RemoteProtocolError.
        write: converts a Python value to the wire value; raises LocalProtocolError.
        pack: converts a Python value to the value of the Go type (Json, Msgpack); None: both are the same.
        unpack: converts the value of the Go type back to the Python value.
        shown: the annotation, for messages.
    """

    go: str
    accepts: frozenset[str]
    read: Callable[[msgspec.Raw], Any]
    write: Callable[[Any], msgspec.Raw]
    pack: Callable[[Any], Any] | None = None
    unpack: Callable[[Any], Any] | None = None
    shown: str = ""

    def dump_arg(self, value: Any) -> Arg:
        """The value as an argument. Raises LocalProtocolError naming type and value."""
        go = self.go
        return Arg("", go, self.write(value)) if go else wire.arg(wire.infer(value), value)

    def dump_result(self, value: Any) -> TaskResult:
        """The value as a result. Raises LocalProtocolError naming type and value."""
        if not self.go:
            return wire.result(wire.infer(value), value)
        # Go: reflection, which names results, knows []byte as []uint8.
        return TaskResult("[]uint8" if self.go == "[]byte" else self.go, self.write(value))

    def load(self, type: str, raw: msgspec.Raw) -> Any:
        """The Python value of a wire value that has this type on the wire. Raises RemoteProtocolError."""
        if type == self.go:
            return self.read(raw)
        value = wire.load(type, raw)
        # A value of another type than declared is returned as it was sent.
        return self.unpacked(value) if type in self.accepts else value

    def packing(
        self, pack: Callable[[Any], Any] | None, unpack: Callable[[Any], Any], shown: str
    ) -> ValueCodec:
        """A slot whose values ``pack`` turns into values of this slot, and ``unpack`` turns back."""
        slot = msgspec.structs.replace(self, pack=pack, unpack=unpack, shown=shown)
        write, read = self.write, self.read
        return msgspec.structs.replace(
            slot,
            read=lambda raw: slot.unpacked(read(raw)),
            write=(lambda value: write(slot._packed(value))) if pack else write,
        )

    def unpacked(self, value: Any) -> Any:
        """The Python value that a value of the Go type holds."""
        if self.unpack is None:
            return value
        try:
            return self.unpack(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise RemoteProtocolError(f"{self.shown}: {exc}") from exc

    def _packed(self, value: Any) -> Any:
        assert self.pack is not None
        try:
            return self.pack(value)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as exc:
            raise LocalProtocolError(f"{value!r:.80} as {self.shown}: {exc}") from exc


def _unsaid(value: Any) -> Any:
    raise AssertionError("a slot without a type reads and writes nothing by itself")


ANY = ValueCodec("", frozenset(), _unsaid, _unsaid)


def of_go(name: str) -> ValueCodec:
    """The slot of a Go type by its name. Raises TaskError for a name Machinery does not know."""
    if name not in wire.TYPES:
        known = ", ".join(sorted(wire.TYPES))
        raise TaskError(f"{name!r} is no Go type that Machinery can carry, expected one of {known}")
    return _slot(name, name)


def of_annotation(annotation: Any) -> ValueCodec:
    """The slot of a Python annotation (already evaluated); a ``str`` is a Go type's name.

    Raises:
        TaskError: the annotation has no Go type. The message names it and the types that have one.
    """
    if isinstance(annotation, str):
        return of_go(annotation)
    if annotation is Any:
        return ANY
    shown = _show(annotation)
    bare, marks = _unwrap(annotation)
    for mark in marks:
        if isinstance(mark, GoType):
            return msgspec.structs.replace(of_go(mark.name), shown=shown)
        if isinstance(mark, Packed):
            return _packed_slot(bare, mark, shown)
    try:
        if name := _PLAIN.get(bare):
            return _slot(name, shown)
    except TypeError:  # unhashable
        pass
    if get_origin(bare) in _LISTS:
        return _list_slot(bare, shown)
    raise TaskError(f"annotation {shown} has no Go type, {_EXPECTED}, such as Json[{shown}]")


def results_of(annotation: Any) -> tuple[ValueCodec, ...] | None:
    """The slots of a return annotation: one for each result. None: the results are unknown.

    The annotation ``None`` means no result, ``tuple[A, B]`` two.
    """
    if annotation is None or annotation is type(None):
        return ()
    if annotation is Any:
        return None
    bare, marks = _unwrap(annotation)
    if get_origin(bare) is tuple and not any(isinstance(mark, Packed) for mark in marks):
        members = get_args(bare)
        if not members or Ellipsis in members:
            raise TaskError(
                f"annotation {_show(annotation)}: expected a fixed number of results, tuple[A, B]"
            )
        return tuple(map(of_annotation, members))
    return (of_annotation(annotation),)


def _slot(go: str, shown: str) -> ValueCodec:
    # Go: []byte and []uint8 are one type.
    same = wire.BYTES if go in wire.BYTES else frozenset((go,))
    return ValueCodec(go, same, wire.reader(go), wire.writer(go), shown=shown)


def _list_slot(bare: Any, shown: str) -> ValueCodec:
    (element,) = get_args(bare) or (Any,)
    try:
        inner = of_annotation(element)
    except TaskError:  # its message would name only the element
        inner = ANY
    if not inner.go or f"[]{inner.go}" not in wire.TYPES:
        raise TaskError(
            f"annotation {shown} has no Go type, expected list[…] of bool, int, float or str, or Json[{shown}]"
        )
    slot = _slot(f"[]{inner.go}", shown)
    if inner.go == "uint8":  # on the wire base64, as bytes are
        return slot.packing(None, list, shown)
    pack, unpack = inner.pack, inner.unpack
    if pack is None or unpack is None:
        return slot
    return slot.packing(
        lambda values: [pack(value) for value in values],
        lambda values: [unpack(value) for value in values],
        shown,
    )


def _packed_slot(content: Any, mark: Packed, shown: str) -> ValueCodec:
    try:
        if mark.format == "json":
            text = msgspec.json.Decoder(content)
            return _slot("string", shown).packing(
                lambda value: _checked(msgspec.json.encode(value), text.decode, shown).decode(),
                text.decode,
                shown,
            )
        packed = msgspec.msgpack.Decoder(content)
        return _slot("[]byte", shown).packing(
            lambda value: _checked(msgspec.msgpack.encode(value), packed.decode, shown), packed.decode, shown
        )
    except TypeError as exc:
        raise TaskError(f"annotation {shown}: msgspec cannot carry {_show(content)}: {exc}") from exc


def _checked(encoded: bytes, decode: Callable[[bytes], Any], shown: str) -> bytes:
    """Return the bytes if the worker can read them by the annotation.

    Raises:
        LocalProtocolError: the worker cannot read them.
    """
    try:
        decode(encoded)
    except msgspec.ValidationError as exc:
        raise LocalProtocolError(f"it does not match {shown}: {exc}") from exc
    return encoded


def _unwrap(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """The annotation without aliases, NewTypes and Annotated; and the metadata of Annotated."""
    marks: tuple[Any, ...] = ()
    while True:
        if get_origin(annotation) is typing.Annotated:
            annotation, *more = get_args(annotation)
            marks = (*more, *marks)
        elif type(annotation).__name__ == "TypeAliasType":  # Python 3.12: type Name = …
            annotation = annotation.__value__
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        else:
            return annotation, marks


def _show(annotation: Any) -> str:
    annotated = get_origin(annotation) is typing.Annotated
    bare, marks = (get_args(annotation)[0], annotation.__metadata__) if annotated else (annotation, ())
    for mark in marks:
        if isinstance(mark, Packed):
            return f"{mark.format.capitalize()}[{_show(bare)}]"
        if isinstance(mark, GoType):
            return mark.name.capitalize()
    if isinstance(bare, type) and not get_args(bare):
        return bare.__qualname__
    return str(bare).replace("typing.", "")
