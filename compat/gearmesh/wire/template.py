"""Encodes signatures of one task that differ only in the UUID and the arguments' values.

Nearly all calls of a producer are like that, so it encodes the rest of the signature only once.
"""

from __future__ import annotations

from collections.abc import Sequence

from gearmesh.wire.codec import encode
from gearmesh.wire.signature import Arg, Signature

__all__ = ["SignatureTemplate"]


class SignatureTemplate:
    """The bytes of a signature without options, with gaps for the UUID and the values.

    Args:
        name: the task's name.
        routing_key: the RoutingKey of each signature.
        types: Go's names of the arguments' types.
        group_uuid, group_count, callback: the group of which the tasks are members, and the body of their chord;
            "", 0 and None without one.

    Raises LocalProtocolError as :func:`~gearmesh.wire.codec.encode` does.
    """

    def __init__(
        self,
        name: str,
        routing_key: str,
        types: Sequence[str],
        *,
        group_uuid: str = "",
        group_count: int = 0,
        callback: Signature | None = None,
    ) -> None:
        self.name = name
        self.routing_key = routing_key
        self._types = types
        text = encode(
            Signature(
                Name=name,
                RoutingKey=routing_key,
                GroupUUID=group_uuid,
                GroupTaskCount=group_count,
                Args=tuple(Arg("", type) for type in types),
                Headers={},
                ChordCallback=callback,
            )
        )
        # A quote inside of a JSON string is written as \", so this text and the prefix are never a part of a string. A
        # callback's arguments stand behind the task's own.
        found = text.split(b',"Value":null}', len(types))
        parts = [part.replace(b"%", b"%%") for part in found]
        before = parts[0].removeprefix(b'{"UUID":"')
        self._text = b'{"UUID":"%b' + b',"Value":%b}'.join((before, *parts[1:]))

    def in_group(self, uuid: str, count: int, callback: Signature | None) -> SignatureTemplate:
        """Return the template of the same task as a member of a group; ``callback``: the body of its chord.

        Raises:
            LocalProtocolError: the callback cannot be encoded.
        """
        return SignatureTemplate(
            self.name, self.routing_key, self._types, group_uuid=uuid, group_count=count, callback=callback
        )

    def fill(self, uuid: str, values: Sequence[object]) -> bytes:
        """Return the bytes of one signature.

        ``values``: the canonical JSON text of each argument (bytes or ``msgspec.Raw``). Nothing is checked or escaped:
        ``uuid`` must have only letters, digits, and other characters that JSON does not escape.
        """
        return self._text % (uuid.encode(), *values)
