"""Reads JSON text into nodes that know their positions in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gearmesh.wire.gojson.read import Node, Pairs, read

__all__ = ["FieldSpan", "Span", "read_spans"]

_SPACE: Final = re.compile(rb"[ \t\n\r]*")
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_WORD: Final = re.compile(rb"[^ \t\n\r,\]}]+")


class Span:
    """One JSON value and its position in the text.

    Attributes:
        start, end: its first byte, and the byte behind its last one.
        items: the elements of a list, in order; None: it is not a list.
        entries: the fields of an object, in order, repeated ones included; None: it is not an object.
    """

    __slots__ = ("end", "entries", "items", "scalar", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self.items: list[Span] | None = None
        self.entries: list[FieldSpan] | None = None
        #: The value of a string, number, bool or null.
        self.scalar: Node = None

    @property
    def node(self) -> Node:
        """The value as a node of :mod:`gearmesh.wire.gojson`; objects and lists are empty."""
        if self.entries is not None:
            return Pairs()
        return [] if self.items is not None else self.scalar

    def find(self, name: str) -> Span | None:
        """Return the value of the last field with this name, in any letter case; None if there is no such field."""
        for entry in reversed(self.entries or ()):
            if entry.name.lower() == name.lower():
                return entry.value
        return None

    def elements(self, name: str) -> list[Span]:
        """Return the elements of the list in the last field with this name; none if there is no such list."""
        found = self.find(name)
        return (found.items if found is not None else None) or []

    def strings(self) -> Iterator[Span]:
        """Yield all strings in this value."""
        todo = [self]
        while todo:
            one = todo.pop()
            if isinstance(one.scalar, str):
                yield one
            todo += one.items or ()
            todo += (entry.value for entry in one.entries or ())


class FieldSpan:
    """One field of an object: its name, the first byte of the name's text, and its value."""

    __slots__ = ("at", "name", "value")

    def __init__(self, name: str, at: int, value: Span) -> None:
        self.name = name
        self.at = at
        self.value = value


def read_spans(data: bytes) -> Span:
    """Read, without recursion, the first value of ``data``, which :func:`~gearmesh.wire.gojson.read.read` accepts."""
    open_: list[Span] = []
    names: list[tuple[str, int]] = []
    at = 0
    while True:
        at = _skip(data, at)
        span = Span(at)
        if data[at : at + 1] in (b"{", b"["):
            is_object = data[at : at + 1] == b"{"
            if is_object:
                span.entries = []
            else:
                span.items = []
            at = _skip(data, at + 1)
            if data[at : at + 1] not in (b"}", b"]"):
                open_.append(span)
                if is_object:
                    at = _name(data, at, names)
                continue
            at += 1
        else:
            match = (_STRING if data[at : at + 1] == b'"' else _WORD).match(data, at)
            assert match is not None  # the text is JSON
            span.scalar = read(match.group())[0]
            at = match.end()
        span.end = at
        while open_:
            inside = open_[-1]
            if inside.entries is not None:
                name, name_at = names.pop()
                inside.entries.append(FieldSpan(name, name_at, span))
            elif inside.items is not None:
                inside.items.append(span)
            at = _skip(data, at)
            if data[at : at + 1] == b",":
                at += 1
                if inside.entries is not None:
                    at = _name(data, _skip(data, at), names)
                break
            at += 1
            span = open_.pop()
            span.end = at
        else:
            return span


def _skip(data: bytes, at: int) -> int:
    match = _SPACE.match(data, at)
    return at if match is None else match.end()


def _name(data: bytes, at: int, names: list[tuple[str, int]]) -> int:
    """Read a field's name and the colon; return the position behind it."""
    match = _STRING.match(data, at)
    assert match is not None
    names.append((str(read(match.group())[0]), at))
    return _skip(data, match.end()) + 1
