"""Converts Python values to JSON that Go reads as the given type, or refuses them.

Go silently wraps integers that are too large, and lets a float32 overflow to infinity. gearmesh
refuses to send such values. Source: recording ``argument_types.jsonl``.
"""

from __future__ import annotations

import binascii
import numbers
import operator
import reprlib
from collections.abc import Callable, Sequence
from functools import partial
from math import isfinite
from typing import Any, NoReturn

import msgspec

from gearmesh.errors import LocalProtocolError
from gearmesh.wire.gojson.floats import float32_text, float64_text, to_float32
from gearmesh.wire.gojson.write import escape_html
from gearmesh.wire.typenames import BYTES, INTEGERS, TYPES, element, is_slice

__all__ = ["dump", "writer"]

_encode = msgspec.json.Encoder().encode


def dump(type: str, value: Any) -> msgspec.Raw:
    """Convert ``value`` to canonical JSON text of the Go type named ``type``.

    An integer type takes anything with ``__index__`` but bool. A float type takes any real number that a
    float64 holds exactly (a float32 rounds it). ``[]byte`` takes bytes, bytearray, memoryview, or a list
    of integers. Other slices take any sequence but str and bytes. Raises LocalProtocolError, which names
    type and value, for any other value: out of range, NaN, infinity, None, text that is not Unicode.
    """
    if type not in TYPES:
        raise LocalProtocolError(f"{type} is not one of supported types (value {reprlib.repr(value)})")
    if not is_slice(type):
        return msgspec.Raw(_scalar(type, value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        if type not in BYTES:
            _refuse(type, value)
        return msgspec.Raw(b'"' + binascii.b2a_base64(value, newline=False) + b'"')
    if isinstance(value, str) or not isinstance(value, Sequence):
        _refuse(type, value)
    items = value if isinstance(value, (list, tuple)) else list(value)
    try:
        return msgspec.Raw(_slice(type, items))
    except LocalProtocolError as error:
        raise LocalProtocolError(f"{reprlib.repr(value)} is not {type}: {error}") from None


def writer(type: str) -> Callable[[Any], msgspec.Raw]:
    """Return a function that does as :func:`dump` for one type, and takes less time for an ordinary scalar."""
    if type in INTEGERS:
        low, high = INTEGERS[type]

        def write_integer(value: Any) -> msgspec.Raw:
            if value.__class__ is int and low <= value <= high:
                return msgspec.Raw(_encode(value))
            return dump(type, value)

        return write_integer
    if type == "string":

        def write_text(value: Any) -> msgspec.Raw:
            if value.__class__ is not str:
                return dump(type, value)
            try:
                return msgspec.Raw(escape_html(_encode(value)))
            except UnicodeEncodeError:
                return dump(type, value)

        return write_text
    if type == "float64":

        def write_float(value: Any) -> msgspec.Raw:
            if value.__class__ is float and isfinite(value):
                return msgspec.Raw(float64_text(value).encode())
            return dump(type, value)

        return write_float
    return partial(dump, type)


def _slice(type: str, value: Sequence[Any]) -> bytes:
    of = element(type)
    if type in BYTES:
        octets = bytes(_integer(of, one) for one in value)
        return b'"' + binascii.b2a_base64(octets, newline=False) + b'"'
    return _uniform(of, value) or b"[" + b",".join([_scalar(of, one) for one in value]) + b"]"


def _uniform(of: str, value: Sequence[Any]) -> bytes | None:
    """Encode the whole slice at once, if all its values plainly have one Python type; else return None."""
    classes = set(map(type, value))
    if of in INTEGERS:
        low, high = INTEGERS[of]
        if classes == {int} and low <= min(value) and max(value) <= high:
            return _encode(value)
    elif of == "float64":
        if classes == {float} and all(map(isfinite, value)):
            text = repr(list(value))
            if "e" not in text:  # without exponents, Python's notation is Go's, but for a .0 at the end
                return text.replace(" ", "").replace(".0,", ",").replace(".0]", "]").encode()
            return f"[{','.join(map(float64_text, value))}]".encode()
    elif (of == "string" and classes == {str}) or (of == "bool" and classes == {bool}):
        try:
            return escape_html(_encode(value))
        except UnicodeEncodeError:
            return None
    return None


def _scalar(of: str, value: Any) -> bytes:
    if of in INTEGERS:
        return b"%d" % _integer(of, value)
    if of == "string":
        if not isinstance(value, str):
            _refuse(of, value)
        try:
            return escape_html(_encode(str(value)))
        except UnicodeEncodeError:
            _refuse(of, value, ": not Unicode text")
    if of == "bool":
        if not isinstance(value, bool):
            _refuse(of, value)
        return b"true" if value else b"false"
    return _float(of, value).encode()


def _integer(of: str, value: Any) -> int:
    if isinstance(value, bool):
        _refuse(of, value)
    try:
        number = operator.index(value)
    except TypeError:
        _refuse(of, value)
    low, high = INTEGERS[of]
    if not low <= number <= high:
        # Go: would silently wrap this number if the type is narrower than 64 bits.
        _refuse(of, value, f": out of range, {low} to {high}")
    return number


def _float(of: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        _refuse(of, value)
    try:
        number = float(value)
        if not isfinite(number):
            _refuse(of, value, ": JSON has no such number")
        if number != value:
            _refuse(of, value, ": no float64 is exactly this")
        return float64_text(number) if of == "float64" else float32_text(to_float32(number))
    except OverflowError:
        # Go: a float32 would silently become +Inf.
        _refuse(of, value, ": out of range")


def _refuse(of: str, value: Any, why: str = "") -> NoReturn:
    raise LocalProtocolError(f"{reprlib.repr(value)} is not {of}{why}")
