"""Translates one result to a DynamoDB attribute value and back.

Go writes each value as the text that ``%v`` prints (``"3"``, ``"[1 2 255]"``), and can only read strings back. gearmesh
writes typed attributes: S, BOOL, N for floats, L of S or N, B for bytes. Go reads these wherever it can read the type.
Source: recordings ``cloud/ddb-*.txt`` and ``cloud/go-getstate-variants.txt``.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from gearmesh.errors import GearmeshError, LocalProtocolError
from gearmesh.wire.gojson.floats import float32_text, float64_text
from gearmesh.wire.gojson.write import quote, unicode
from gearmesh.wire.state import TaskResult
from gearmesh.wire.typenames import BYTES, INTEGERS, TYPES, element, is_slice
from gearmesh.wire.types import dump, load

__all__ = ["AttributeValue", "field_of", "from_attribute", "text_of", "to_attribute"]

#: A value as DynamoDB's API has it: one type's letters, and the value.
AttributeValue = Mapping[str, Any]

#: The sizes of floats that DynamoDB's numbers hold.
MIN_NUMBER: Final = 1e-130
MAX_NUMBER: Final = 1e126
#: Go: ``%v`` of a whole number; a float may have a fraction and an exponent.
_INTEGER: Final = re.compile(r"-?[0-9]+")
_FLOAT: Final = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")


def to_attribute(result: TaskResult) -> dict[str, Any]:
    """Return one result as the element of ``Results`` that DynamoDB stores.

    A float that no number of DynamoDB's holds (a negative zero, 1e300) is stored as text, which is how Go writes it.

    Raises:
        LocalProtocolError: the result's JSON is not of its type.
    """
    type, text = result.Type, bytes(result.Value)
    if type == "int64" and text.isdigit():
        return {"M": {"Type": {"S": type}, "Value": {"N": text.decode()}}}
    if is_slice(type) and text == b"null":
        value: dict[str, Any] = {"NULL": True}  # Go: a nil slice
    else:
        try:
            value = _written(type, load(type, result.Value))
        except GearmeshError as exc:
            raise LocalProtocolError(f"{text[:80]!r} is no {type}: {exc}") from exc
    return {"M": {"Type": {"S": type}, "Value": value}}


def from_attribute(element: AttributeValue) -> TaskResult:
    """Read one element of ``Results``, by Go or by gearmesh.

    A value that is not of its type (Go can store a NaN, as text) becomes JSON that no reader can take for it: the state
    can be read, and a caller that wants the value gets an error.
    """
    fields = element.get("M") or {}
    type, value = text_of(field_of(fields, "Type")), field_of(fields, "Value") or {"NULL": True}
    if type == "int64" and (number := value.get("N", "")).isdigit():
        return TaskResult(type, msgspec.Raw(number.encode()))
    if type in TYPES:
        try:
            return TaskResult(type, _read(type, value))
        except (GearmeshError, ValueError):
            pass
    return TaskResult(type, msgspec.Raw(_unreadable(type, value)))


def field_of(fields: Mapping[str, AttributeValue], name: str) -> AttributeValue | None:
    """Return an attribute, or None if the item lacks it. Like Go, gearmesh ignores the case of the name."""
    if name in fields:
        return fields[name]
    lower = name.lower()
    return next((value for other, value in fields.items() if other.lower() == lower), None)


def text_of(value: AttributeValue | None) -> str:
    """Return the text of a string or, as Go does, the digits of a number; ``""`` for all other values."""
    found = (value.get("S") or value.get("N")) if value else None
    return found if isinstance(found, str) else ""


# -- writing


def _written(type: str, value: Any) -> dict[str, Any]:
    if isinstance(value, bytes):
        return {"B": value}
    if is_slice(type):
        of = element(type)
        return {"L": [_written(of, each) for each in value]}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, str):
        return {"S": value if value.isascii() else unicode(value)}
    if isinstance(value, float):
        text = float32_text(value) if type == "float32" else float64_text(value)
        fits = MIN_NUMBER <= abs(value) < MAX_NUMBER or text == "0"
        return {"N": text} if fits else {"S": text}
    return {"N": str(value)}


# -- reading


def _read(type: str, value: AttributeValue) -> msgspec.Raw:
    if not is_slice(type):
        return dump(type, _scalar(type, value))
    if "NULL" in value:
        return msgspec.Raw(b"null")  # Go: a nil slice
    if "B" in value:
        return dump(type, value["B"] if type in BYTES else list(value["B"]))
    if "S" in value:
        return _slice_of_text(type, value["S"])
    (kind, elements), *_ = value.items()
    if kind == "M" and not elements:
        return dump(type, [])  # Go: a map without entries has no elements
    if kind == "L":
        return dump(type, [_scalar(element(type), each) for each in elements])
    if kind in ("SS", "NS"):  # sets: Machinery writes none, but Go's reader accepts them
        return dump(type, [_scalar(element(type), {kind[0]: each}) for each in elements])
    raise LocalProtocolError(f"{value!r:.80} is no {type}")


def _slice_of_text(type: str, text: str) -> msgspec.Raw:
    """Read a slice from a string.

    Go: ``%v`` joins the elements with spaces, so strings that hold spaces fall apart here, and an empty slice looks
    like one empty string. Bytes may also be base64, which Go's reader accepts.
    """
    if not text:
        return dump(type, b"" if type in BYTES else [])  # Go: a text without characters has no elements
    if text.startswith("[") and text.endswith("]"):
        inner = text[1:-1]
        parts = inner.split(" ") if inner else []
        return dump(type, [_scalar(element(type), {"S": part}) for part in parts])
    if element(type).startswith("uint"):
        try:
            return dump(type, load(type, msgspec.Raw(quote(text))))
        except binascii.Error as exc:
            raise LocalProtocolError(f"{text!r:.80} is no {type}") from exc
    raise LocalProtocolError(f"{text!r:.80} is no {type}")


def _scalar(type: str, value: AttributeValue) -> Any:
    """Return the Python value that ``dump`` takes, from a typed value or from Go's text."""
    (kind, given), *_ = value.items()
    if type == "string" and kind == "S":
        return given
    if type == "bool":
        if kind == "BOOL":
            return given
        if kind == "S" and given in ("true", "false"):
            return given == "true"
    elif kind in ("S", "N"):
        pattern = _INTEGER if type in INTEGERS else _FLOAT
        if type != "string" and pattern.fullmatch(given):
            return int(given) if type in INTEGERS else float(given)
        if type in INTEGERS and kind == "N" and (number := float(given)).is_integer():
            return int(number)  # DynamoDB may print 1E+2
    raise LocalProtocolError(f"{value!r:.80} is no {type}")


def _unreadable(type: str, value: AttributeValue) -> bytes:
    """Return the JSON that Go would write for a value that is not of its type, or other JSON if that fits the type.

    Go: a reader of JSON takes a number or a text for a list of bytes, a reader of DynamoDB does not.
    """
    text = _json(value)
    if type in TYPES:
        try:
            load(type, msgspec.Raw(text))
        except (GearmeshError, ValueError):
            return text
        (kind, _), *_ = value.items()
        return b"{%s:%s}" % (quote(kind), text)
    return text


def _json(value: AttributeValue) -> bytes:
    """Return JSON text of any attribute value, as Go would write the value that it reads from it."""
    (kind, given), *_ = value.items()
    if kind == "S":
        return quote(given)
    if kind == "N":
        number = float(given)
        return float64_text(number).encode() if math.isfinite(number) else quote(given)
    if kind == "BOOL":
        return b"true" if given else b"false"
    if kind == "B":
        return quote(base64.b64encode(given).decode())
    if kind == "L":
        return _list(given)
    if kind in ("SS", "NS", "BS"):
        return _list([{kind[0]: each} for each in given])
    if kind == "M":
        items = sorted(given.items())
        return b"{" + b",".join(quote(key) + b":" + _json(each) for key, each in items) + b"}"
    return b"null"


def _list(values: Sequence[AttributeValue]) -> bytes:
    return b"[" + b",".join(map(_json, values)) + b"]"
