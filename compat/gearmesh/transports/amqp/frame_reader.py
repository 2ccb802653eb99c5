"""Cuts the bytes that RabbitMQ sends into frames, and joins frames to deliveries. It does no I/O."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from amqp.exceptions import RecoverableConnectionError

from gearmesh.transports.amqp.frames import BASIC_DELIVER, Delivered, read_deliver

__all__ = ["INCOMPLETE", "Frame", "FrameReader", "ReceivedMessage"]

_frame = Struct(">BHI")
_size = Struct(">Q")

#: Type, channel and payload.
Frame = tuple[int, int, bytes]


class ReceivedMessage(NamedTuple):
    """A delivery whose frames have all come; ``properties`` are encoded."""

    delivered: Delivered
    properties: bytes
    body: bytes


#: Returned in place of a delivery while some of its frames are missing.
INCOMPLETE: Final = ()


class _Incoming:
    """A delivery while some of its frames are missing."""

    __slots__ = ("delivered", "left", "parts", "properties")

    def __init__(self, delivered: Delivered) -> None:
        self.delivered = delivered
        self.properties = b""
        self.left = -1
        self.parts: list[bytes] = []


class FrameReader:
    """Cuts the bytes of one connection into frames and whole deliveries. Used under the connection's lock."""

    def __init__(self) -> None:
        self._data = b""
        self._at = 0
        self._incoming: dict[int, _Incoming] = {}

    def feed(self, data: bytes) -> None:
        """Add bytes that were read."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    @property
    def waiting(self) -> bool:
        """True if a complete frame was not taken yet."""
        left = len(self._data) - self._at
        return left >= 8 and left >= 8 + _frame.unpack_from(self._data, self._at)[2]

    def next(self) -> Frame | None:
        """Take a frame; None: none is complete. Raises RecoverableConnectionError for bytes that are not a frame."""
        data, at = self._data, self._at
        if len(data) - at < 8:
            return None
        kind, channel, size = _frame.unpack_from(data, at)
        end = at + 7 + size
        if end >= len(data):
            return None
        if data[end] != 0xCE:
            raise RecoverableConnectionError("a frame of RabbitMQ's ends in the wrong place")
        self._at = end + 1
        return kind, channel, data[at + 7 : end]

    def delivery(self, kind: int, channel: int, payload: bytes) -> ReceivedMessage | tuple[()] | None:
        """Return the delivery that a frame completes; :data:`INCOMPLETE` if others are missing; None if it belongs to
        none."""
        incoming = self._incoming.get(channel)
        if kind == 1 and payload[:4] == BASIC_DELIVER:
            self._incoming[channel] = _Incoming(read_deliver(payload))
            return INCOMPLETE
        if incoming is None:
            return None
        if kind == 2:
            (incoming.left,) = _size.unpack_from(payload, 4)
            incoming.properties = payload[12:]
        elif kind == 3:
            incoming.parts.append(payload)
            incoming.left -= len(payload)
        else:
            return None
        if incoming.left > 0:
            return INCOMPLETE
        del self._incoming[channel]
        parts = incoming.parts
        return ReceivedMessage(
            incoming.delivered, incoming.properties, parts[0] if len(parts) == 1 else b"".join(parts)
        )

    def drop(self, channel: int) -> None:
        """Forget the incomplete delivery of a channel that was closed, if there is one."""
        self._incoming.pop(channel, None)
