"""Signatures of one task, of which only the UUID and the arguments' values differ.

Nearly all that a producer sends is like that: all else is encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence

from gearmesh.wire.codec import encode
from gearmesh.wire.signature import Arg, Signature

__all__ = ["SignatureTemplate"]


class SignatureTemplate:
    """The bytes of a signature without options, with places for UUID and values.

    Args:
        name: the task's.
        routing_key: where it is sent.
        types: Go's names of the arguments' types.

    Raises LocalProtocolError as :func:`~gearmesh.wire.codec.encode` does.
    """

    def __init__(self, name: str, routing_key: str, types: Sequence[str]) -> None:
        self.name = name
        self.routing_key = routing_key
        args = tuple(Arg("", type) for type in types)
        text = encode(Signature(Name=name, RoutingKey=routing_key, Args=args, Headers={}))
        # A quote inside of a JSON string is written as \", so neither of these is a part of one.
        parts = [part.replace(b"%", b"%%") for part in text.split(b',"Value":null}')]
        before = parts[0].removeprefix(b'{"UUID":"')
        self._text = b'{"UUID":"%b' + b',"Value":%b}'.join((before, *parts[1:]))

    def fill(self, uuid: str, values: Sequence[object]) -> bytes:
        """One signature. ``values``: canonical JSON text of each argument (bytes or ``msgspec.Raw``).

        Neither is looked at: ``uuid`` is hexadecimal digits, letters and the like.
        """
        return self._text % (uuid.encode(), *values)
