"""Reads arguments and results as Go does, and says where Python reads them otherwise."""

from __future__ import annotations

import difflib
import re
from typing import Final

import msgspec

from gearmesh.errors import RemoteProtocolError
from gearmesh.explain.aftermath import after_error, after_panic
from gearmesh.explain.findings import Finding
from gearmesh.explain.spans import Span
from gearmesh.wire.gojson.canonical import canonical
from gearmesh.wire.gojson.read import Number
from gearmesh.wire.loading import load
from gearmesh.wire.typenames import BYTES, INTEGERS, TYPES, element, is_slice

__all__ = ["check_arg", "check_result", "show_value", "wrapped"]

#: Characters of one value in a sentence.
MAX_VALUE_CHARS: Final = 60
#: Type names of other languages, and the Go type that their user probably means.
_MEANT: Final = {
    "str": "string",
    "text": "string",
    "integer": "int64",
    "long": "int64",
    "float": "float64",
    "double": "float64",
    "number": "float64",
    "boolean": "bool",
    "bytes": "[]byte",
    "list": "[]string",
    "byte": "uint8",
    "rune": "int32",
}
_AFTER_FAILURE: Final = after_error("the message is acknowledged", "the message is gone").rstrip(".")
#: Characters that JSON does not have to escape and a terminal does not show.
_INVISIBLE: Final = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def _python_fails(reason: str) -> str:
    return (
        f"does not call the task. It stores FAILURE 'Reflect task args error: {reason}', does not retry, and goes on "
        "with the next message"
    )


def _go_fails(reason: str, why: str = "") -> str:
    """Describe a failure in Go. ``why``: an explanation of the reason, which is put in parentheses."""
    return (
        f"does not call the task. It stores FAILURE 'Reflect task args error: {reason}'{why and f' ({why})'}, and does "
        f"not retry. {_AFTER_FAILURE}"
    )


def show_value(raw: msgspec.Raw | bytes) -> str:
    """Return JSON text without invisible characters, cut to ``MAX_VALUE_CHARS``."""
    text = bytes(raw).decode(errors="replace")
    text = _INVISIBLE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
    return text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 1] + "…"


def wrapped(type: str, text: bytes) -> int | None:
    """Return the number to which Go wraps an integer that is too large for its type; None if Go does not wrap it."""
    low, high = INTEGERS[type]
    digits = text[1:] if text[:1] == b"-" and low else text
    if not digits.isdigit() or len(digits) > 20:
        return None
    number = int(text)
    bits = (high - low).bit_length()
    if not (-(2**63) <= number < 2**63 if low else number < 2**64):
        return None
    number %= 1 << bits
    return number - (1 << bits) if number > high else number


def check_arg(type: Span | None, value: Span | None, data: bytes, where: str) -> list[Finding]:
    """Find the faults of one argument of a message, from the spans of its Type and its Value."""
    name = str(type.scalar) if type is not None and isinstance(type.scalar, str) else ""
    if name not in TYPES:
        at = type or value
        reason = f"{_cut(name)} is not one of supported types"
        unknown = f"{_cut(name)!r} is not a type that Machinery knows{_suggestion(name)}"
        return [
            Finding(
                level="fault",
                text=unknown if name else "the argument has no Type",
                start=at.start if at else None,
                end=at.end if at else None,
                where=f"{where}.Type",
                go=_go_fails(reason),
                python=_python_fails(reason),
            )
        ]
    return _check_value(name, value, data, f"{where}.Value")


def check_result(type: Span | None, value: Span | None, data: bytes, where: str) -> list[Finding]:
    """Find the faults of one result of a state, from the spans of its Type and its Value."""
    name = str(type.scalar) if type is not None and isinstance(type.scalar, str) else ""
    text = _text(value, data)
    try:
        load(name, msgspec.Raw(text))
    except RemoteProtocolError as exc:
        at = type if name not in TYPES and type is not None else value
        return [
            Finding(
                level="fault",
                text=f"the result {show_value(text)} cannot be read as {_cut(name)!r}",
                start=at.start if at else None,
                end=at.end if at else None,
                where=f"{where}.{'Value' if name in TYPES else 'Type'}",
                go=f"returns an error from a caller's Get: {exc}",
                python="raises an error with the same text from get()",
            )
        ]
    return []


def _text(value: Span | None, data: bytes) -> bytes:
    return b"null" if value is None else canonical(data[value.start : value.end])


def _check_value(name: str, value: Span | None, data: bytes, where: str) -> list[Finding]:
    text = _text(value, data)
    try:
        load(name, msgspec.Raw(text))
    except RemoteProtocolError as exc:
        return [_refused(name, value, data, str(exc), where)]
    if name not in BYTES and element_of(name) in ("uint", "uint64") and _has_big(value):
        return [
            Finding(
                level="note",
                text=f"{show_value(text)} is above 2^63-1",
                go=(
                    "reads it with Machinery v1.10.7 or a later v1, and with v2.0.12 or a later v2. A worker of an "
                    "older release does not call the task, and stores FAILURE 'value out of range'. On Redis it also "
                    "loses up to concurrency + 1 other messages"
                ),
                python="reads it",
                start=value.start if value else None,
                end=value.end if value else None,
                where=where,
            )
        ]
    if value is not None and is_slice(name) and isinstance(value.scalar, Number):
        digits = ", ".join(map(str, text))
        return [
            Finding(
                level="fault",
                text=f"{show_value(text)} is not a {name}",
                go=f"calls the task with [{digits}], the bytes of the number's characters, without an error",
                python="does the same",
                start=value.start,
                end=value.end,
                where=where,
            )
        ]
    return []


def element_of(name: str) -> str:
    """Return the element type of a slice, and any other type itself."""
    return element(name) if is_slice(name) else name


def _refused(name: str, value: Span | None, data: bytes, reason: str, where: str) -> Finding:
    start = value.start if value else None
    end = value.end if value else None
    kind = element_of(name)
    odd = _text(value, data)
    path = where
    if value is not None and value.items is not None and is_slice(name):
        for index, item in enumerate(value.items):
            one = canonical(data[item.start : item.end])
            if not _loads(kind, one):
                start, end, odd, path = item.start, item.end, one, f"{where}[{index}]"
                break
    if reason.startswith("reflect: call of"):
        go = after_panic(f"panics outside of the task ({reason})")
    elif is_slice(name) and path == where:
        first = reason.partition(" ")[0]
        go = _go_fails(
            reason,
            f"Go reads the value byte by byte, and {first} is the first one" if first.isdigit() else "",
        )
    elif kind in INTEGERS and (number := wrapped(kind, odd)) is not None:
        go = (
            f"calls the task with {number}, the part of the number that fits into {_article(kind)}, without an "
            "error"
        )
    elif kind == "float32" and "out of range" in reason and _loads("float64", odd):
        go = "calls the task with infinity, without an error"
    else:
        go = _go_fails(reason)
    return Finding(
        level="fault",
        text=f"{show_value(odd)} is not {_expected(kind if is_slice(name) and path != where else name, odd)}",
        start=start,
        end=end,
        where=path,
        go=go,
        python=_python_fails(reason),
    )


def _expected(kind: str, odd: bytes) -> str:
    """Name the expected type, and the fault or the range: ``an int8: it is a text``, ``an int8 (-128 to 127)``."""
    article = _article(kind).partition(" (")[0]
    if odd.startswith((b"[", b"{")) and not is_slice(kind):
        return f"{article}: it is {'a list' if odd.startswith(b'[') else 'an object'}"
    if odd == b"-0" and kind in INTEGERS:
        return f"{article}: Go accepts no sign here"
    if kind not in INTEGERS or odd.removeprefix(b"-").isdigit():
        return _article(kind)
    if odd.startswith(b'"'):
        return f"{article}: it is a text"
    return f"{article}: it has a point or an exponent" if odd[:1] in b"-0123456789" else article


def _loads(kind: str, text: bytes) -> bool:
    try:
        load(kind, msgspec.Raw(text))
    except RemoteProtocolError:
        return False
    return True


def _article(kind: str) -> str:
    if is_slice(kind):
        return f"a {kind}"
    bounds = INTEGERS.get(kind)
    shown = f" ({bounds[0]} to {bounds[1]})" if bounds and bounds[1] < 2**31 else ""
    return f"{'an' if kind.startswith(('int', 'uint')) and kind[0] == 'i' else 'a'} {kind}{shown}"


def _has_big(value: Span | None) -> bool:
    spans = [value, *(value.items or ())] if value is not None else []
    texts = (getattr(span.scalar, "text", "") for span in spans if span is not None)
    return any(text.isdigit() and int(text) >= 2**63 for text in texts if len(text) <= 20)


def _cut(name: str) -> str:
    return name if len(name) <= MAX_VALUE_CHARS else name[: MAX_VALUE_CHARS - 1] + "…"


def _suggestion(name: str) -> str:
    meant = _MEANT.get(name.lower())
    if meant is None and 0 < len(name) <= MAX_VALUE_CHARS:
        close = difflib.get_close_matches(name, sorted(TYPES), n=1, cutoff=0.7)
        meant = close[0] if close else None
    return f"; perhaps {meant!r} is meant" if meant else ""
