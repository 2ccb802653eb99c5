"""Writes a tree as JSON text, as Go's encoder writes a value that it has read into ``interface{}``.

The text has no spaces. Object keys are sorted by their bytes, the last of repeated keys wins, and number
literals are unchanged. Source: recordings ``strings.jsonl``, ``signature_codec.jsonl``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from gearmesh.wire.gojson.read import Node, Number, Pairs

__all__ = ["escape_html", "quote", "separated", "unicode", "write"]

T = TypeVar("T")
U = TypeVar("U")

_WORDS = {None: b"null", True: b"true", False: b"false"}


#: Bytes as numbers: to look for a number in bytes takes a fourth of the time. The last one begins U+2028 and U+2029.
_LESS, _GREATER, _AMPERSAND, _SEPARATOR = b"<>&\xe2"


def escape_html(data: bytes) -> bytes:
    """Add Go's further escapes to JSON text: ``<``, ``>``, ``&``, U+2028 and U+2029.

    These characters occur only inside of strings, so each of them can be replaced.
    """
    if _LESS in data:
        data = data.replace(b"<", b"\\u003c")
    if _GREATER in data:
        data = data.replace(b">", b"\\u003e")
    if _AMPERSAND in data:
        data = data.replace(b"&", b"\\u0026")
    if _SEPARATOR in data:
        data = data.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return data


def unicode(text: str) -> str:
    """Replace every lone surrogate in ``text`` by U+FFFD; a pair becomes its character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def quote(text: str | bytes) -> bytes:
    """Return a Go string as JSON.

    Each byte that is not UTF-8 (in a str: a surrogate, as ``os.fsdecode`` makes it) is written as the
    escape ``\\ufffd``; a U+FFFD that is really in the text is written raw.
    """
    if isinstance(text, str):
        try:
            return escape_html(msgspec.json.encode(str(text)))
        except UnicodeEncodeError:
            pass
    else:
        text = text.decode("utf-8", "surrogateescape")
    pieces = []
    begin = 0
    for at, char in enumerate(text):
        if "\ud800" <= char <= "\udfff":
            pieces += [text[begin:at], None]
            begin = at + 1
    pieces.append(text[begin:])
    whole = b"".join(b"\\ufffd" if p is None else msgspec.json.encode(p)[1:-1] for p in pieces)
    return b'"' + escape_html(whole) + b'"'


def separated(items: Iterable[T], comma: U) -> list[T | U]:
    """Return the items with ``comma`` between them."""
    return [part for item in items for part in (comma, item)][1:]


def write(tree: Node) -> bytes:
    """Return the canonical JSON text of a tree, without recursion."""
    out: list[bytes] = []
    todo: list[Node | bytes] = [tree]  # bytes are finished text
    while todo:
        node = todo.pop()
        if isinstance(node, bytes):
            out.append(node)
        elif node is None or isinstance(node, bool):
            out.append(_WORDS[node])
        elif isinstance(node, str):
            out.append(quote(node))
        elif isinstance(node, Number):
            out.append(node.text.encode("ascii"))
        elif isinstance(node, Pairs):
            parts: list[Node | bytes] = [b"{"]
            for index, (key, value) in enumerate(sorted(dict(node).items(), key=_key)):
                parts += [(b"," if index else b"") + quote(key) + b":", value]
            parts.append(b"}")
            todo += reversed(parts)
        else:
            todo += reversed([b"[", *separated(node, b","), b"]"])
    return b"".join(out)


def _key(item: tuple[str, Node]) -> str:
    return item[0]  # code points sort as their UTF-8 bytes do
