"""Turns any JSON value into the text that Go writes after reading it (with ``UseNumber``) into ``interface{}``."""

from __future__ import annotations

import re

import msgspec

from gearmesh.wire.gojson.depth import shallow
from gearmesh.wire.gojson.read import read_all
from gearmesh.wire.gojson.write import escape_html, write

__all__ = ["canonical"]

_SIMPLE = re.compile(
    rb'-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|"[ !#-%\'-;=?-\[\]-~]{0,64}"|true|false|null'
)
_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder().decode


def canonical(text: bytes) -> bytes:
    """Return the canonical form of one JSON value. RemoteProtocolError if the text is not one."""
    if _SIMPLE.fullmatch(text):
        return text
    if shallow(text):
        # If msgspec writes the same text, but for the escapes that Go adds, then the text is
        # canonical already: its numbers, key order, spaces and escapes.
        escaped = escape_html(text)
        try:
            if escape_html(_encode(_decode(text))) == escaped:
                return escaped
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass
    return write(read_all(text))
