"""The Go types into which a tree is decoded, as far as Machinery's structs need them.

The decoder keeps Go's memory: a struct is a dict, a slice is a :class:`Slice` that remembers the
elements beyond its length, since Go decodes a repeated key over the earlier elements.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Anything", "ListOf", "Map", "Scalar", "Shape", "Slice", "StructOf", "Time"]


class Scalar(msgspec.Struct, frozen=True):
    """``string``, ``bool``, ``int``, ``int64`` or ``uint8``. ``low``, ``high``: the bounds of an integer."""

    go: str
    zero: Any
    low: int = 0
    high: int = 0


class Time(msgspec.Struct, frozen=True):
    """``time.Time``, or ``*time.Time`` if ``pointer`` is True: null then makes it None."""

    pointer: bool


class Anything(msgspec.Struct, frozen=True):
    """``interface{}``: kept as canonical JSON text."""


class Map(msgspec.Struct, frozen=True):
    """The Go type ``map[string]interface{}``."""

    go: str


class ListOf(msgspec.Struct, frozen=True):
    """A Go slice of one type."""

    go: str
    element: Shape


class StructOf(msgspec.Struct):
    """A struct, or a pointer to one. ``fields`` has Go's names in capitals, so that letter case is ignored.

    It is not frozen, so that ``fields`` can be filled in later if the type contains itself.
    """

    go: str
    pointer: bool
    fields: dict[str, tuple[str, Shape]]


Shape = Scalar | Time | Anything | Map | ListOf | StructOf


class Slice:
    """A Go slice: ``memory`` is the backing array, of which the first ``length`` elements are in use."""

    __slots__ = ("length", "memory")

    def __init__(self) -> None:
        self.memory: list[Any] = []
        self.length = 0
