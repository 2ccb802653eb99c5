"""Decodes a tree into Go's memory, field by field as Go's decoder does it.

Source: recordings ``signature_codec.jsonl`` (the ``dup_`` cases show the effect of repeated keys).
"""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec

from gearmesh.errors import RemoteProtocolError
from gearmesh.wire import gotime
from gearmesh.wire.gojson.read import Escaped, Node, Number, Pairs
from gearmesh.wire.gojson.shape import Anything, ListOf, Map, Scalar, Shape, Slice, StructOf, Time
from gearmesh.wire.gojson.write import write

__all__ = ["Memory", "fill"]

#: Characters of a field's path in an error.
MAX_PATH_CHARS = 100
#: A Go struct: the fields that the document has set, by Go's name.
Memory = dict[str, Any]

#: The place of a field: its struct's Go type, the path of that struct, and the field's name; None: at the top. It
#: becomes a text only for an error, since a chain may be nested thousands of levels deep.
_Path = tuple[str, Any, str] | None

# Go: ignores the letter case of keys; these two letters fold to ASCII.
_FOLD = {0x17F: "S", 0x212A: "K"}


def fill(tree: Node, shape: StructOf) -> Memory:
    """Decode ``tree`` into a zero struct of ``shape``. RemoteProtocolError for a wrong type."""
    root: Memory = {}
    # (value, its Go type, the container that gets it, its key or index there, its path for errors)
    todo: list[tuple[Node, Shape, Any, Any, _Path]] = [(tree, shape, {"": root}, "", None)]
    if tree is None:
        return root
    while todo:
        node, want, box, key, path = todo.pop()
        if isinstance(want, Scalar):
            if node is not None:  # Go: null leaves a scalar as it is
                box[key] = _scalar(node, want, path)
        elif isinstance(want, Anything):
            box[key] = msgspec.Raw(write(node))
        elif isinstance(want, Time):
            if node is not None:
                box[key] = _time(node)
            elif want.pointer:
                box[key] = None
        elif isinstance(want, Map):
            if node is None:
                box[key] = None
            elif isinstance(node, Pairs):
                into = box.get(key) or {}
                into.update((name, msgspec.Raw(write(value))) for name, value in node)
                box[key] = into
            else:
                _refuse(node, want.go, path)
        elif isinstance(want, StructOf):
            if node is None:
                if want.pointer:
                    box[key] = None
            elif isinstance(node, Pairs):
                memory = box[key] if isinstance(box, list) else box.get(key)
                if memory is None:
                    memory = box[key] = {}
                for name, value in reversed(
                    node
                ):  # so the fields are popped in order, each with all below it
                    field = want.fields.get(_fold(name))
                    if field is not None:
                        todo.append((value, field[1], memory, field[0], (want.go, path, field[0])))
            else:
                _refuse(node, "tasks." + want.go, path)
        elif node is None:
            box[key] = None
        elif isinstance(node, list) and not isinstance(node, Pairs):
            into = box.get(key)
            if into is None or not node:
                into = box[key] = Slice()
            into.length = len(node)
            while len(into.memory) < into.length:
                into.memory.append(_zero(want))
            for index in range(len(node) - 1, -1, -1):
                todo.append((node[index], want.element, into.memory, index, path))
        else:
            _refuse(node, want.go, path)
    return root


def _zero(want: ListOf) -> Any:
    element = want.element
    if isinstance(element, StructOf) and not element.pointer:
        return {}
    return element.zero if isinstance(element, Scalar) else None


def _fold(key: str) -> str:
    """Return the key in capitals; ``""`` if it cannot be a field's name."""
    if not key.isascii():
        key = key.translate(_FOLD)
        if not key.isascii():
            return ""
    return key.upper()


def _scalar(node: Node, want: Scalar, path: _Path) -> Any:
    if want.go == "string":
        if isinstance(node, str):
            return str(node)
    elif want.go == "bool":
        if isinstance(node, bool):
            return node
    elif isinstance(node, Number):
        text = node.text
        digits = text[1:] if text[0] == "-" and want.low < 0 else text
        # Go: 3.0 and 1e2 are not integers, and -0 is not an unsigned one. 20 digits overflow in any case.
        if digits.isdecimal() and len(digits) < 20 and want.low <= int(text) <= want.high:
            return int(text)
    _refuse(node, want.go, path)


def _time(node: Node) -> str | RemoteProtocolError:
    """Return the time as Go writes it.

    If Go reads the time and cannot write it, the error is returned and not raised: a repeated key may replace the time.
    """
    if not isinstance(node, str):
        raise RemoteProtocolError("Time.UnmarshalJSON: input is not a JSON string")
    # Go: the literal itself is parsed, so that any escape makes it unreadable.
    gotime.parse(node.literal if isinstance(node, Escaped) else node)
    try:
        return gotime.canonical(node)
    except RemoteProtocolError as error:
        return error


def _refuse(node: Node, go: str, path: _Path) -> NoReturn:
    if isinstance(node, bool):
        what = "bool"
    elif isinstance(node, str):
        what = "string"
    elif isinstance(node, Number):
        what = f"number {node.text:.100}" if "int" in go else "number"
    else:
        what = "object" if isinstance(node, Pairs) else "array"
    where = f"Go struct field {_path_text(path)}" if path is not None else "Go value"
    raise RemoteProtocolError(f"json: cannot unmarshal {what} into {where} of type {go}")


def _path_text(path: _Path) -> str:
    """Return the name of the struct that has the field, and all fields from the top to it, as Go writes them."""
    struct = "" if path is None else path[0]
    fields: list[str] = []
    while path is not None:
        fields.append(path[2])
        path = path[1]
    shown = ".".join(reversed(fields))
    return f"{struct}.{shown if len(shown) <= MAX_PATH_CHARS else '…' + shown[-MAX_PATH_CHARS:]}"
