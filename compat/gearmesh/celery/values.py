"""Converts the values in Celery's messages between JSON, MessagePack and Go types.

Celery's JSON writes a value that JSON cannot hold as ``{"__type__": …, "__value__": …}``. Go can use only marked bytes.
Every other marked value is a plain dictionary for all programs except the Celery worker that reads it.
"""

from __future__ import annotations

import base64
import math
from typing import Any

from gearmesh.errors import LocalProtocolError
from gearmesh.wire import types as wire
from gearmesh.wire.signature import Arg

__all__ = ["from_json", "in_json", "plain", "rich", "typed"]

_MARKED = {"__type__", "__value__"}
_INT64 = range(-(2**63), 2**63)


def typed(value: Any) -> Arg | None:
    """Make an argument whose Go type follows from a JSON value; None if no Go type holds exactly this value.

    Raises:
        LocalProtocolError: see :func:`from_json`.
    """
    value = from_json(value)
    if isinstance(value, int) and not isinstance(value, bool) and value not in _INT64:
        kind = "uint64"
    elif (isinstance(value, list) and not value) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    else:
        try:
            kind = wire.infer(value)
        except LocalProtocolError:
            return None
    try:
        return wire.arg(kind, value)
    except LocalProtocolError:
        return None


def from_json(value: Any) -> Any:
    """The value as Go gets it: marked bytes become bytes, every other value stays as it is.

    Raises:
        LocalProtocolError: the text of marked bytes is not base64.
    """
    if isinstance(value, dict) and value.keys() == _MARKED:
        text = value["__value__"]
        if value["__type__"] == "bytes" and isinstance(text, str):
            return text.encode("utf-8", "surrogatepass")
        if value["__type__"] == "base64" and isinstance(text, str):
            try:
                return base64.b64decode(text)
            except ValueError as exc:
                raise LocalProtocolError(f"base64 value {text!r:.80} cannot be read: {exc}") from exc
    return value


def in_json(value: Any) -> Any:
    """The inverse of :func:`from_json`: bytes are marked, as Celery's JSON marks them."""
    if not isinstance(value, bytes):
        return value
    try:
        return {"__type__": "bytes", "__value__": value.decode()}
    except UnicodeDecodeError:
        return {"__type__": "base64", "__value__": base64.b64encode(value).decode()}


def plain(value: Any) -> Any:
    """Convert a value from MessagePack into the form that JSON has for it.

    Raises:
        LocalProtocolError: a key is not text, or JSON cannot hold a value.
    """
    if isinstance(value, bytes):
        return in_json(value)
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise LocalProtocolError(f"key {key!r:.80} in a message, expected text: messages are JSON")
        return {key: plain(one) for key, one in value.items()}
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise LocalProtocolError(
        f"{value!r:.80} ({type(value).__name__}) in a message, expected a value that JSON has"
    )


def rich(value: Any) -> Any:
    """The inverse of :func:`plain`: marked bytes become bytes, at any depth. Raises as :func:`from_json`."""
    if isinstance(value, list):
        return [rich(one) for one in value]
    if isinstance(value, dict):
        found = from_json(value)
        return found if found is not value else {key: rich(one) for key, one in value.items()}
    return value
