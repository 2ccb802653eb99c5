"""The values that a run sends, by Go type."""

from __future__ import annotations

from typing import Any, Final

from gearmesh.wire.typenames import INTEGERS

__all__ = ["VALUES"]

_TEXTS: Final = ["", 'a "b" \\ \n\t', "<a>&'\u2028é日本😀"]
_FLOATS: Final = [0.0, -2.5, 0.1, 1e300, 5e-324]
_FLOATS_32: Final = [0.0, -2.5, 0.5, 3.0e38]


def _integers(type: str) -> list[int]:
    low, high = INTEGERS[type]
    return sorted({low, 0, 1, high})


def _scalars() -> dict[str, list[Any]]:
    return {
        "bool": [False, True],
        **{type: _integers(type) for type in INTEGERS},
        "float32": _FLOATS_32,
        "float64": _FLOATS,
        "string": _TEXTS,
    }


def _all() -> dict[str, list[Any]]:
    scalars = _scalars()
    slices = {f"[]{type}": [[], values] for type, values in scalars.items() if type != "uint8"}
    return {**scalars, **slices, "[]uint8": [b"", bytes(range(256))], "[]byte": [b"", b"\x00\xff\n"]}


#: The values to send, by Go type.
VALUES: Final[dict[str, list[Any]]] = _all()
