"""Translates one result to BSON and back.

Machinery reads a value only if Go's driver hands it an int64, a float64, a bool, a string, or an array of these. It
cannot read all values that it has written itself. gearmesh writes these types wherever it is possible.
Source: recordings ``results_mongodb.json`` and ``results_mongodb_v2.json``.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from bson import Binary, Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS

from gearmesh.errors import GearmeshError, LocalProtocolError
from gearmesh.wire.gojson.floats import float64_text
from gearmesh.wire.gojson.write import quote, unicode
from gearmesh.wire.gotime import format_ns
from gearmesh.wire.state import ZERO_TIME, TaskResult
from gearmesh.wire.typenames import BYTES, INTEGERS, TYPES, element, is_slice
from gearmesh.wire.types import dump, load

__all__ = ["from_bson", "time_text", "to_bson"]

#: Go: the type of a string that holds a JSON object. Machinery stores the object.
JSON: Final = "json"
#: The largest integer of BSON.
MAX_INT64: Final = 2**63 - 1


def to_bson(result: TaskResult) -> dict[str, Any]:
    """The document of one result.

    Integers are always 64 bits wide, text that holds a JSON object stays text (Go stores it as an object and can't read
    that). An unsigned slice is base64 if all elements are below 256: Go has no other way to read one.

    Raises:
        LocalProtocolError: no BSON type holds the value. The message names it.
    """
    try:
        return {"type": result.Type, "value": _written(result.Type, load(result.Type, result.Value))}
    except LocalProtocolError:
        raise
    except GearmeshError as exc:
        raise LocalProtocolError(f"{bytes(result.Value)[:80]!r} is no {result.Type}: {exc}") from exc


def from_bson(document: Mapping[str, Any]) -> TaskResult:
    """The result in a document, by Go or by gearmesh.

    A value that is not of its type, or that JSON has no number for (Go can store a NaN here), becomes JSON that no
    reader takes for a value of the type: the state can be read, and a caller that wants the value gets an error.
    """
    type, value = str(document.get("type", "")), document.get("value")
    if type == JSON:
        # The original text is lost. Go writes the parsed object like this. Go: it also stores the text "null" so.
        return TaskResult("string", msgspec.Raw(quote(_json(value))))
    if type in TYPES:
        try:
            text = _slice(type, value) if is_slice(type) else dump(type, _scalar(type, value))
            return TaskResult(type, text)
        except GearmeshError:
            pass
    return TaskResult(type, msgspec.Raw(_json(value)))


def _written(type: str, value: Any) -> Any:
    of = element(type) if is_slice(type) else type
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if is_slice(type):
        if of.startswith("uint") and value and max(value) < 256:
            return base64.b64encode(bytes(value)).decode()
        return [_written(of, each) for each in value]
    if of in INTEGERS:
        if value > MAX_INT64:
            # Go: its driver refuses, and the task stays STARTED; v2 stops working altogether.
            raise LocalProtocolError(
                f"{value} is {type}, and MongoDB's integers end at {MAX_INT64}: return it as a string, say"
            )
        return Int64(value)
    if of.startswith("float"):
        return float(value)
    return unicode(value) if isinstance(value, str) and not value.isascii() else value


def _slice(type: str, value: Any) -> msgspec.Raw:
    if value is None:
        return msgspec.Raw(b"null")  # Go: a nil slice
    if isinstance(value, str) and element(type).startswith("uint"):
        return dump(type, load(type, msgspec.Raw(quote(value))))
    if isinstance(value, bytes):  # Go: []byte is binary data
        return dump(type, value if type in BYTES else list(value))
    if not isinstance(value, list):
        raise LocalProtocolError(f"{value!r:.80} is no {type}")
    return dump(type, [_scalar(element(type), each) for each in value])


def _scalar(type: str, value: Any) -> Any:
    """The value that ``dump`` takes. BSON keeps integers and floats apart, and the writer may have meant the other."""
    if type.startswith("float") and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type in INTEGERS and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _json(value: Any) -> bytes:
    """JSON text of a BSON value, as Go would write the value it came from: keys sorted, floats without ``.0``."""
    if value is None:
        return b"null"
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, float):
        return float64_text(value).encode() if math.isfinite(value) else quote(str(value))
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, Mapping):
        items = sorted((str(key), each) for key, each in value.items())
        return b"{" + b",".join(quote(key) + b":" + _json(each) for key, each in items) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(_json, value)) + b"]"
    if isinstance(value, (bytes, Binary)):
        return quote(base64.b64encode(value).decode())
    if isinstance(value, DatetimeMS):
        return quote(time_text(value))
    if isinstance(value, (ObjectId, Decimal128)):
        return quote(str(value))
    return quote(repr(value))


def time_text(value: DatetimeMS) -> str:
    """A BSON time as RFC 3339 text; Go's zero time for one that has no such text."""
    try:
        return format_ns(int(value) * 1_000_000)
    except LocalProtocolError:
        return ZERO_TIME
