"""Reads the five fields of a spec into numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

__all__ = ["BOUNDS", "DAYS", "WEEKDAYS", "Bounds", "Values", "read_field"]


class Bounds(NamedTuple):
    """The bounds of a field: its name for people, its least and greatest numbers, and words for numbers."""

    name: str
    least: int
    most: int
    words: Mapping[str, int] = MappingProxyType({})


class Values(NamedTuple):
    """The numbers of a field, sorted and without repetitions; and True if one of its parts counts as a star."""

    numbers: tuple[int, ...]
    star: bool = False


_MONTH_WORDS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_WORDS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

DAYS: Final = Bounds("day of month", 1, 31)
#: Go: Sunday is 0 only; 7 is out of range.
WEEKDAYS: Final = Bounds("day of week", 0, 6, {word: n for n, word in enumerate(_DAY_WORDS)})
#: The fields of a spec, in order.
BOUNDS: Final = (
    Bounds("minute", 0, 59),
    Bounds("hour", 0, 23),
    DAYS,
    Bounds("month", 1, 12, {word: n for n, word in enumerate(_MONTH_WORDS, 1)}),
    WEEKDAYS,
)

_Wrong = Callable[[str], ValueError]
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)


def read_field(text: str, bounds: Bounds) -> Values:
    """Read a field, which has ranges between commas.

    Go: skips an empty part between commas, so ``","`` holds no number and never matches.

    Raises:
        ValueError: the message names the field, the wrong part and the expected form.
    """
    numbers: set[int] = set()
    star = False
    for part in text.split(","):
        if part:
            more, starred = _read_range(part, bounds)
            numbers.update(more)
            star = star or starred
    return Values(tuple(sorted(numbers)), star)


def _read_range(text: str, bounds: Bounds) -> tuple[range, bool]:
    """Read ``*``, ``?``, ``n`` or ``n-m``, with or without ``/step``; return its numbers, and True for a star."""

    def wrong(expected: str) -> ValueError:
        return ValueError(f"{bounds.name} {text!r}: expected {expected}")

    base, *steps = text.split("/")
    low, *highs = base.split("-")
    star = low in ("*", "?")  # Go: ? is * in every field, and a "-" with a text behind either is ignored
    if len(steps) > 1:
        raise wrong("at most one '/'")
    if star:
        first, last = bounds.least, bounds.most
    elif len(highs) > 1:
        raise wrong("at most one '-'")
    else:
        first = last = _number(low, bounds, wrong)
        if highs:
            last = _number(highs[0], bounds, wrong)
    step = 1
    if steps:
        step = _integer(steps[0], wrong, "a whole number above 0 behind '/'")
        if not highs:
            last = bounds.most  # Go: n/step is n-most/step
        star = star and step <= 1  # Go: */1 counts as a star, */2 as a restriction
    if not bounds.least <= first <= last <= bounds.most:
        raise wrong(f"numbers from {bounds.least} to {bounds.most}, the smaller one first")
    if step < 1:
        raise wrong("a whole number above 0 behind '/'")
    return range(first, last + 1, step), star


def _number(text: str, bounds: Bounds, wrong: _Wrong) -> int:
    word = bounds.words.get(text.lower())
    if word is not None:
        return word
    words = f", or one of {' '.join(bounds.words)}" if bounds.words else ""
    return _integer(text, wrong, f"a number from {bounds.least} to {bounds.most}{words}")


def _integer(text: str, wrong: _Wrong, expected: str) -> int:
    """Read a number as Go's strconv.Atoi does: ASCII digits, with or without a sign and leading zeros."""
    digits = text.lstrip("+-0") or "0"
    if not _INTEGER.fullmatch(text) or len(digits) > 19 or int(digits) >= 2**63:
        raise wrong(expected)
    return -int(digits) if text[0] == "-" else int(digits)
