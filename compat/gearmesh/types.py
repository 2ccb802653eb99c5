"""Annotations that say which Go type an argument or a result has.

Plain annotations need none of these: ``int`` is int64, ``float`` float64, ``str`` string, ``bytes``
[]byte, ``bool`` bool, ``list[T]`` a slice. A type checker sees the Python type behind each name: ``int`` for ``Int8``,
``T`` for ``Json[T]``::

    @app.task
    def resize(image: bytes, width: Uint16, tags: Json[dict[str, str]]) -> tuple[bytes, Uint32]: ...
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec

__all__ = [
    "Float32",
    "Float64",
    "GoType",
    "Int",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Json",
    "Msgpack",
    "Packed",
    "Uint",
    "Uint8",
    "Uint16",
    "Uint32",
    "Uint64",
]

T = TypeVar("T")


class GoType(msgspec.Struct, frozen=True):
    """Marks an annotation with the name of a Go type: ``Annotated[int, GoType("int8")]``."""

    name: str


class Packed(msgspec.Struct, frozen=True):
    """Marks structured content that travels inside one string (JSON) or []byte (MessagePack)."""

    format: Literal["json", "msgpack"]


Int: TypeAlias = Annotated[int, GoType("int")]
Int8: TypeAlias = Annotated[int, GoType("int8")]
Int16: TypeAlias = Annotated[int, GoType("int16")]
Int32: TypeAlias = Annotated[int, GoType("int32")]
Int64: TypeAlias = Annotated[int, GoType("int64")]
Uint: TypeAlias = Annotated[int, GoType("uint")]
Uint8: TypeAlias = Annotated[int, GoType("uint8")]
Uint16: TypeAlias = Annotated[int, GoType("uint16")]
Uint32: TypeAlias = Annotated[int, GoType("uint32")]
Uint64: TypeAlias = Annotated[int, GoType("uint64")]
Float32: TypeAlias = Annotated[float, GoType("float32")]
Float64: TypeAlias = Annotated[float, GoType("float64")]

#: A value of type T as JSON in a string. msgspec must be able to encode T, such as a dict, a dataclass or a Struct.
Json: TypeAlias = Annotated[T, Packed("json")]
#: A value of type T, as for Json, but as MessagePack in a []byte.
Msgpack: TypeAlias = Annotated[T, Packed("msgpack")]
