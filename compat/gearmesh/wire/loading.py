"""Converts JSON to Python values as Machinery reads it for the given type, or refuses it.

It refuses integers that Go would wrap, and a float32 that Go would make infinite:
``tests/unit/wire/test_types.py`` has each case. Source: recording ``argument_types.jsonl``.
"""

from __future__ import annotations

import binascii
import re
import struct
from collections.abc import Callable
from functools import partial
from types import GenericAlias
from typing import Annotated, Any, NoReturn

import msgspec

from gearmesh.errors import RemoteProtocolError
from gearmesh.wire.gojson.floats import to_float32
from gearmesh.wire.gojson.read import Node, Number, Pairs, read_all
from gearmesh.wire.gojson.show import show
from gearmesh.wire.typenames import BYTES, INTEGERS, TYPES, element, is_slice

__all__ = ["load", "reader"]

_BASE64 = bytes(c for c in range(128) if chr(c).isalnum()) + b"+/"
_MINUS_ZERO = re.compile(rb"-0[,\]]")

#: The scalar types that msgspec reads as Go does, but for a negative zero. It knows no bounds above those of an int64.
_SCALARS: dict[str, Any] = {
    "bool": bool,
    "string": str,
    "float64": float,
    **{
        of: Annotated[int, msgspec.Meta(ge=low, le=min(high, 2**63 - 1))]
        for of, (low, high) in INTEGERS.items()
    },
}
_LISTS = {of: GenericAlias(list, kind) for of, kind in {**_SCALARS, "float32": float}.items()}
_LIST_READERS = {of: msgspec.json.Decoder(kind).decode for of, kind in _LISTS.items()}
_read_bytes = msgspec.json.Decoder(bytes).decode


def load(type: str, raw: msgspec.Raw) -> Any:
    """Load canonical JSON text ``raw`` as the Go type named ``type``.

    A slice becomes a list, ``[]byte`` and ``[]uint8`` become bytes; null is an empty slice. Raises
    RemoteProtocolError, with Go's text where there is one, for a value that Go refuses, panics on, or
    silently changes.
    """
    return reader(type)(raw)


def reader(type: str) -> Callable[[msgspec.Raw], Any]:
    """Return a function that does as :func:`load` for one type."""
    return _READERS.get(type) or partial(_exactly, type)


def _exactly(type: str, raw: msgspec.Raw) -> Any:
    """Do as :func:`load`, for all values. For an ordinary scalar it takes ten times as long as msgspec."""
    if type not in TYPES:
        raise RemoteProtocolError(f"{type} is not one of supported types")
    text = bytes(raw)
    if is_slice(type):
        return _slice(type, text)
    return _scalar(type, read_all(text))


def _quickly(type: str, read: Callable[[msgspec.Raw], Any]) -> Callable[[msgspec.Raw], Any]:
    """Return a function that does as :func:`load` for one type, with msgspec's ``read`` for ordinary values."""

    def quick(raw: msgspec.Raw) -> Any:
        try:
            value = read(raw)
        except (msgspec.MsgspecError, ValueError):
            return _exactly(type, raw)
        # Go: -0 is no unsigned integer, and a negative zero as a float.
        return value if value or bytes(raw)[:1] != b"-" else _exactly(type, raw)

    return quick


_READERS = {of: _quickly(of, msgspec.json.Decoder(kind).decode) for of, kind in _SCALARS.items()}


def _slice(type: str, text: bytes) -> Any:
    of = element(type)
    if text[:1] == b"[":
        fast = _fast(of, text)
        if fast is None:
            fast = [_scalar(of, one) for one in _elements(read_all(text))]
        return bytes(fast) if type in BYTES else fast
    if type in BYTES and text[:1] == b'"':
        try:
            return _read_bytes(text)  # msgspec accepts less than Go does: no newlines
        except msgspec.MsgspecError:
            pass
    values = _unusual(of, read_all(text))
    return bytes(values) if type in BYTES else values


def _elements(node: Node) -> list[Node]:
    if isinstance(node, list) and not isinstance(node, Pairs):
        return node
    raise AssertionError("text that begins with a bracket is a list")


def _fast(of: str, text: bytes) -> list[Any] | None:
    """Load the whole list at once; None if anything in it is unusual."""
    reader = _LIST_READERS.get(of)
    if reader is None:
        return None
    if b"-0" in text and of != "string" and _MINUS_ZERO.search(text):
        return None  # Go: -0 is not an unsigned integer, and is a negative zero as a float
    try:
        values: list[Any] = reader(text)
        if of == "float32":
            values = list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
        return None
    return values


def _unusual(of: str, node: Node) -> list[Any]:
    """Load a slice that was not written as a list."""
    if node is None:
        return []
    if isinstance(node, bool):
        # Go: panics outside of any task, which ends the whole worker process.
        raise RemoteProtocolError("reflect: call of reflect.Value.Len on bool Value")
    if isinstance(node, Pairs):
        if not node:
            return []  # Go: a map of length 0 is an empty slice
        raise RemoteProtocolError("reflect: call of reflect.Value.Index on map Value")
    if isinstance(node, str):
        octets = _unbase64(node.encode()) if of.startswith("uint") else node.encode()
    elif isinstance(node, Number):
        octets = node.text.encode()  # Go: a json.Number is a string, so it has elements
    else:
        raise AssertionError("a list is read elsewhere")
    if octets and not of.startswith("uint"):
        raise RemoteProtocolError(f"{octets[0]} is not {of}")
    return list(octets)


def _unbase64(written: bytes) -> bytes:
    # Go: skips newlines anywhere, requires padding, and ignores bits past the end.
    text = written.replace(b"\n", b"").replace(b"\r", b"")
    rest = text.translate(None, _BASE64)
    if len(text) % 4 or rest not in (b"", b"=", b"==") or not text.endswith(rest):
        raise RemoteProtocolError(f"illegal base64 data at input byte {_illegal_at(written)}")
    return binascii.a2b_base64(text)


def _illegal_at(text: bytes) -> int:
    """Return the position that Go names: of the first byte that is not base64, or of an incomplete group of four."""
    padding = len(text) - len(text.lstrip(_BASE64 + b"\r\n"))
    digits = padding - text.count(b"\r", 0, padding) - text.count(b"\n", 0, padding)
    if padding == len(text):
        return padding - digits % 4
    if text[padding] != ord("=") or digits % 4 < 2:
        return padding
    rest = len(text) - len(text[padding + 1 :].lstrip(b"\r\n"))
    if digits % 4 == 2:
        if text[rest : rest + 1] != b"=":
            return rest - 1 if rest < len(text) else rest
        rest = len(text) - len(text[rest + 1 :].lstrip(b"\r\n"))
    return rest


def _scalar(of: str, node: Node) -> Any:
    if of == "string":
        if isinstance(node, str):
            return str(node)
    elif of == "bool":
        if isinstance(node, bool):
            return node
    elif isinstance(node, Number):
        return _integer(of, node.text) if of in INTEGERS else _float(of, node.text)
    raise RemoteProtocolError(f"{show(node):.200} is not {of}")


def _integer(of: str, text: str) -> int:
    low, high = INTEGERS[of]
    function = "ParseInt" if low else "ParseUint"
    digits = text[1:] if text[0] == "-" and low else text
    if not digits.isdigit():
        _refuse(function, text, "invalid syntax")
    if len(digits) > 20 or not low <= int(text) <= high:
        # Go: refuses numbers beyond 64 bits only, and silently wraps a number that is too large for a narrower type.
        _refuse(function, text, "value out of range")
    return int(text)


def _float(of: str, text: str) -> float:
    number = float(text)
    try:
        if number - number:  # infinite
            raise OverflowError
        return number if of == "float64" else to_float32(number)
    except OverflowError:
        # Go: refuses numbers beyond float64 only; a number that is too large for a float32 silently becomes +Inf.
        _refuse("ParseFloat", text, "value out of range")


def _refuse(function: str, text: str, why: str) -> NoReturn:
    raise RemoteProtocolError(f'strconv.{function}: parsing "{text:.100}": {why}')
