"""Reads JSON text into a tree, and accepts exactly the texts that Go's scanner accepts.

A tree is made of None, bool, str, :class:`Number` (its literal), list, and :class:`Pairs` (an
object, with repeated keys and in order, since Go merges them). Nothing recurses: Go's limit is
10,000 levels, far too many for the C stack of a thread.

Source: recordings ``signature_codec.jsonl``, ``nesting.json``.
"""

from __future__ import annotations

import re
from typing import NoReturn, Union

import msgspec

from gearmesh.errors import RemoteProtocolError

__all__ = ["MAX_DEPTH", "Escaped", "Node", "Number", "Pairs", "read", "read_all"]

#: Go: ``maxNestingDepth`` of encoding/json; a value may be nested this deep and not deeper.
MAX_DEPTH = 10_000


class Number(msgspec.Struct, frozen=True, gc=False):
    """A number as its literal: its value depends on the Go type that reads it."""

    text: str


class Escaped(str):
    """A string whose literal had escapes. Go reads a time from the literal, as it stands between the quotes."""

    __slots__ = ("literal",)
    literal: str

    def __new__(cls, text: str, literal: str) -> Escaped:
        self = super().__new__(cls, text)
        self.literal = literal
        return self


class Pairs(list[tuple[str, "Node"]]):
    """An object: (key, value) in the order of the text."""


Node = Union[None, bool, str, Number, "list[Node]", Pairs]

_SPACE = re.compile(rb"[ \t\n\r]*")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_CHUNK = re.compile(rb'[^"\\\x00-\x1f]*')
_UNICODE = re.compile(rb"\\u([0-9a-fA-F]{4})")
_HEX = re.compile(rb"[0-9a-fA-F]*")
_LOW = re.compile(rb"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_INVALID = re.compile("[\udc80-\udcff]")
_ESCAPES = dict(zip(b'"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True))
_WORDS: dict[int, tuple[bytes, bool | None]] = {
    word[0]: (word, value) for word, value in ((b"true", True), (b"false", False), (b"null", None))
}
#: Characters that Go escapes and Python does not, or that they escape in different ways.
_GO_ESCAPES = dict(zip(b"\a\b\f\v'\\", (r"\a", r"\b", r"\f", r"\v", r"\'", r"\\"), strict=True))
_OPEN_OBJECT, _OPEN_ARRAY, _CLOSE_OBJECT, _CLOSE_ARRAY = b"{[}]"
_QUOTE, _BACKSLASH, _COMMA, _COLON, _MINUS = b'"\\,:-'


def read(data: bytes) -> tuple[Node, int]:
    """Read the first JSON value of ``data``; return it and the position behind it. The rest is not read.

    Raises RemoteProtocolError for text that Go's scanner refuses.
    """
    return _Reader(data).value()


def read_all(data: bytes) -> Node:
    """Read ``data`` as one JSON value, with nothing but spaces around it. Raises as :func:`read` does."""
    node, end = read(data)
    match = _SPACE.match(data, end)
    if match is None or match.end() != len(data):
        _refuse(data, end, "after top-level value")
    return node


def _refuse(data: bytes, at: int, where: str) -> NoReturn:
    if at >= len(data):
        raise RemoteProtocolError("unexpected EOF" if data.strip(b" \t\n\r") else "EOF")
    raise RemoteProtocolError(f"invalid character {_shown(data[at])} {where} (byte {at})")


def _shown(byte: int) -> str:
    """Return a byte as Go names it: a character of Latin-1 in single quotes."""
    char = chr(byte)
    if byte in _GO_ESCAPES:
        return f"'{_GO_ESCAPES[byte]}'"
    if byte >= 0x80 and not char.isprintable():
        return rf"'\u{byte:04x}'"
    return f"'{char}'" if char.isprintable() else repr(char)


class _Reader:
    """Reads one text once; ``at`` is the position of the next byte."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def space(self) -> int:
        """Skip spaces; return the next byte, or -1 at the end."""
        match = _SPACE.match(self.data, self.at)
        if match is not None:
            self.at = match.end()
        return self.data[self.at] if self.at < len(self.data) else -1

    def value(self) -> tuple[Node, int]:
        open_: list[list[Node] | Pairs] = []  # the open objects and lists, outermost first
        keys: list[str] = []  # the key of each open object whose value is being read
        while True:
            # One value begins here.
            node: Node
            byte = self.space()
            if byte in (_OPEN_OBJECT, _OPEN_ARRAY):
                if len(open_) >= MAX_DEPTH:
                    _refuse(self.data, self.at, "exceeded max depth")
                self.at += 1
                if byte == _OPEN_OBJECT:
                    node = Pairs()
                    if self.space() != _CLOSE_OBJECT:
                        open_.append(node)
                        keys.append(self.key())
                        continue
                else:
                    node = []
                    if self.space() != _CLOSE_ARRAY:
                        open_.append(node)
                        continue
                self.at += 1
            else:
                node = self.scalar(byte)
            # The value is complete. Add it to its container, and close each container that ends here.
            while open_:
                inside = open_[-1]
                if isinstance(inside, Pairs):
                    inside.append((keys.pop(), node))
                    byte = self.space()
                    if byte == _COMMA:
                        self.at += 1
                        keys.append(self.key())
                        break
                    if byte != _CLOSE_OBJECT:
                        _refuse(self.data, self.at, "after object key:value pair")
                else:
                    inside.append(node)
                    byte = self.space()
                    if byte == _COMMA:
                        self.at += 1
                        break
                    if byte != _CLOSE_ARRAY:
                        _refuse(self.data, self.at, "after array element")
                self.at += 1
                node = open_.pop()
            else:
                return node, self.at

    def key(self) -> str:
        if self.space() != _QUOTE:
            _refuse(self.data, self.at, "looking for beginning of object key string")
        key = str(self.string())
        if self.space() != _COLON:
            _refuse(self.data, self.at, "after object key")
        self.at += 1
        return key

    def scalar(self, byte: int) -> Node:
        if byte == _QUOTE:
            return self.string()
        match = _NUMBER.match(self.data, self.at)
        if match is not None:
            self.at = match.end()
            self.check_digits(match.group())
            return Number(match.group().decode("ascii"))
        if byte == _MINUS:
            _refuse(self.data, self.at + 1, "in numeric literal")
        word, value = _WORDS.get(byte, (b"", None))
        if not word:
            _refuse(self.data, self.at, "looking for beginning of value")
        for letter in word:
            if self.data[self.at : self.at + 1] != bytes([letter]):
                _refuse(self.data, self.at, f"in literal {word.decode()} (expecting {chr(letter)!r})")
            self.at += 1
        return value

    def check_digits(self, text: bytes) -> None:
        """Refuse a number whose point or exponent has no digits; ``text`` is the number before it."""
        after = self.data[self.at : self.at + 1]
        if after == b"." and not set(text) & set(b".eE"):
            _refuse(self.data, self.at + 1, "after decimal point in numeric literal")
        if after in (b"e", b"E") and not set(text) & set(b"eE"):
            signed = self.data[self.at + 1 : self.at + 2] in (b"+", b"-")
            _refuse(self.data, self.at + (2 if signed else 1), "in exponent of numeric literal")

    def string(self) -> str:
        data = self.data
        pieces: list[str] = []
        escaped = False
        self.at += 1
        start = self.at
        while True:
            match = _CHUNK.match(data, self.at)
            if match is not None and match.end() > self.at:
                self.at = match.end()
                pieces.append(_text(match.group()))
            byte = data[self.at] if self.at < len(data) else -1
            if byte == _QUOTE:
                self.at += 1
                whole = pieces[0] if len(pieces) == 1 else "".join(pieces)
                return Escaped(whole, _text(data[start : self.at - 1])) if escaped else whole
            if byte != _BACKSLASH:
                _refuse(data, self.at, "in string literal")
            escaped = True
            pieces.append(self.escape())

    def escape(self) -> str:
        match = _UNICODE.match(self.data, self.at)
        if match is None:
            after = self.data[self.at + 1] if self.at + 1 < len(self.data) else -1
            if after == ord("u"):
                digits = _HEX.match(self.data, self.at + 2)
                _refuse(
                    self.data, digits.end() if digits else self.at + 2, r"in \u hexadecimal character escape"
                )
            if after not in _ESCAPES:
                _refuse(self.data, self.at + 1, "in string escape code")
            self.at += 2
            return _ESCAPES[after]
        self.at = match.end()
        code = int(match.group(1), 16)
        if 0xD800 <= code < 0xDC00:
            low = _LOW.match(self.data, self.at)
            if low is not None:
                self.at = low.end()
                return chr(0x10000 + ((code - 0xD800) << 10) + int(low.group(1), 16) - 0xDC00)
        # Go: an unpaired surrogate becomes U+FFFD.
        return "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)


def _text(chunk: bytes) -> str:
    """Decode UTF-8. Go: every byte that is not part of valid UTF-8 becomes one U+FFFD."""
    try:
        return chunk.decode()
    except UnicodeDecodeError:
        return _INVALID.sub("\ufffd", chunk.decode("utf-8", "surrogateescape"))
