"""Prints a tree as Go's ``%v`` does, for errors with the same words as Go's."""

from __future__ import annotations

import msgspec

from gearmesh.wire.gojson.read import Node, Number, Pairs
from gearmesh.wire.gojson.write import separated

__all__ = ["show"]

_MAX_SHOWN_CHARS = 1000


def show(tree: Node) -> str:
    """Return text such as ``<nil>``, ``true``, ``x``, ``[1 2]``, ``map[a:1 b:2]``, cut after some 1,000 characters."""
    out = ""
    todo: list[Node | _Text] = [tree]
    while todo and len(out) < _MAX_SHOWN_CHARS:
        node = todo.pop()
        if isinstance(node, (_Text, Number)):
            out += node.text
        elif isinstance(node, Pairs):
            parts: list[Node | _Text] = [_Text("map[")]
            for key, value in sorted(dict(node).items(), key=lambda item: item[0]):
                parts += [_Text(f" {key}:" if len(parts) > 1 else f"{key}:"), value]
            todo += reversed([*parts, _Text("]")])
        elif isinstance(node, str):
            out += node
        elif node is None:
            out += "<nil>"
        elif isinstance(node, bool):
            out += "true" if node else "false"
        else:
            todo += reversed([_Text("["), *separated(node, _Text(" ")), _Text("]")])
    return out


class _Text(msgspec.Struct, frozen=True):
    text: str
