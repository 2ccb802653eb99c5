"""The kinds of values that settings take, each with the way to read it from text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

__all__ = [
    "ANY_TEXT",
    "DECLARE_ARGS",
    "FLAG",
    "LEVEL",
    "LEVELS",
    "MACHINERY",
    "MILLISECONDS",
    "MOMENTS",
    "NUMBER",
    "OPTIONAL_MOMENTS",
    "OPTIONAL_TEXT",
    "SECONDS",
    "SEPARATOR",
    "STRINGS",
    "TEXT",
    "Kind",
]

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
#: Go: strconv.ParseBool.
_FLAGS: Final = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


class Kind(NamedTuple):
    """One kind of value.

    Attributes:
        expected: the words with which an error says what was expected.
        fits: returns True for a right value.
        parse: reads a text; raises ValueError or KeyError. The value need not fit.
        textual: a file's scalar is taken as it is written there: ``007`` is no number.
    """

    expected: str
    fits: Callable[[Any], bool]
    parse: Callable[[str], Any]
    textual: bool = False


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any, *, above_zero: bool = False) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return number and value >= 0 and not (above_zero and value == 0)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _pairs(text: str) -> dict[str, str]:
    """Read ``k:v,k:v``, as Machinery's envconfig decoder does."""
    pairs = [pair.split(":") for pair in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(text)
    return {pair[0]: pair[1] for pair in pairs}


def _typed(text: str) -> Any:
    if _INTEGER.fullmatch(text):
        return int(text)
    return {"true": True, "false": False}.get(text, text)


TEXT = Kind("text that is not empty", lambda value: _is_text(value) and bool(value), str, textual=True)
ANY_TEXT = Kind("text", _is_text, str, textual=True)
OPTIONAL_TEXT = TEXT._replace(fits=lambda value: value is None or TEXT.fits(value))
#: A separator with such a character would cut URLs and passwords in two.
SEPARATOR = Kind(
    "text without '@', ':' and '/'",
    lambda value: _is_text(value) and not set(value) & set("@:/"),
    str,
    textual=True,
)
NUMBER = Kind("a whole number, 0 or more", _is_whole, _integer)
#: Go's module is machinery or machinery/v2.
MACHINERY = Kind("1 or 2", lambda value: _is_whole(value) and value in (1, 2), _integer)
MILLISECONDS = Kind("a whole number of milliseconds, 0 or more", _is_whole, _integer)
MOMENTS = Kind("seconds, 0 or more", _is_number, float)
SECONDS = Kind("seconds above 0", lambda value: _is_number(value, above_zero=True), float)
OPTIONAL_MOMENTS = MOMENTS._replace(fits=lambda value: value is None or _is_number(value))
FLAG = Kind("true or false", lambda value: isinstance(value, bool), _FLAGS.__getitem__)
LEVEL = Kind(
    f"one of {', '.join(LEVELS)}",
    lambda value: value in ("", *LEVELS),
    lambda text: text.upper(),
    textual=True,
)
#: Go: arguments of bindings given by the environment are strings.
STRINGS = Kind("names and values such as x-match:any,format:png", _is_table, _pairs)
#: Go: those of declarations come out nil there. RabbitMQ wants numbers as numbers.
DECLARE_ARGS = Kind(
    "names and values such as x-max-priority:10,x-queue-mode:lazy",
    _is_table,
    lambda text: {key: _typed(value) for key, value in _pairs(text).items()},
)
