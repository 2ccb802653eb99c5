"""The Go types that Machinery's arguments and results may have, by name."""

from __future__ import annotations

from typing import Final

__all__ = ["BYTES", "INTEGERS", "TYPES", "element", "is_slice"]

#: Integer types with their least and greatest values. Go's ``int`` and ``uint`` have 64 bits where Machinery runs.
INTEGERS: Final[dict[str, tuple[int, int]]] = {
    "int": (-(2**63), 2**63 - 1),
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint": (0, 2**64 - 1),
    "uint8": (0, 2**8 - 1),
    "uint16": (0, 2**16 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}

_SCALARS = ("bool", *INTEGERS, "float32", "float64", "string")

#: Two names of one type: ``bytes`` in Python, base64 in JSON. Results have the name ``[]uint8``.
BYTES: Final = frozenset(("[]byte", "[]uint8"))

#: Every type name that an argument may have. There are no maps, no nested slices, and no ``any``.
TYPES: Final = frozenset((*_SCALARS, *(f"[]{name}" for name in _SCALARS), "[]byte"))


def is_slice(type: str) -> bool:
    """Return True for a slice type; ``[]byte`` is one."""
    return type.startswith("[]")


def element(type: str) -> str:
    """Return the element type of a slice type; ``uint8`` for ``[]byte``."""
    return "uint8" if type in BYTES else type[2:]
