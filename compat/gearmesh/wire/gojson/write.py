"""A tree to JSON text, as Go's encoder writes a value it read into ``interface{}``.

Without spaces, object keys sorted by their bytes, of repeated keys the last, number literals as
they are. Source: recordings ``strings.jsonl``, ``signature_codec.jsonl``.
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


def escape_html(data: bytes) -> bytes:
    """JSON text with Go's further escapes: ``<``, ``>``, ``&``, U+2028 and U+2029.

    These only ever stand inside of strings, so the bytes can be replaced wherever they are.
    """
    if b"<" in data:
        data = data.replace(b"<", b"\\u003c")
    if b">" in data:
        data = data.replace(b">", b"\\u003e")
    if b"&" in data:
        data = data.replace(b"&", b"\\u0026")
    if b"\xe2\x80" in data:
        data = data.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return data


def unicode(text: str) -> str:
    """``text`` with U+FFFD for every surrogate that stands alone; a pair becomes its character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def quote(text: str | bytes) -> bytes:
    """A Go string as JSON.

    Bytes that are not UTF-8 (in a str: surrogates, as ``os.fsdecode`` makes them) are each written
    as the escape ``\\ufffd``; a U+FFFD that is really in the text is written raw.
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
    """The items with ``comma`` between them."""
    return [part for item in items for part in (comma, item)][1:]


def write(tree: Node) -> bytes:
    """Canonical JSON text of a tree; it never recurses."""
    out: list[bytes] = []
    todo: list[Node | bytes] = [tree]  # bytes are text that is ready
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
