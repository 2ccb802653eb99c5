"""Take AMQP frames apart and put them together, by the layout in the specification alone."""

from __future__ import annotations

from struct import pack, unpack_from

__all__ = ["BODY", "HEADER", "HEARTBEAT", "METHOD", "content_header", "deliver", "frame", "parse"]

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8


def parse(data: bytes) -> list[tuple[int, int, bytes]]:
    """Return the frames as (type, channel, payload)."""
    found = []
    while data:
        kind, channel, size = unpack_from(">BHI", data)
        assert data[7 + size] == 0xCE
        found.append((kind, channel, data[7 : 7 + size]))
        data = data[8 + size :]
    return found


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """Write one frame."""
    return pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def deliver(consumer_tag: str, tag: int, *, redelivered: bool = False, queue: str = "jobs") -> bytes:
    """Write the payload of a basic.deliver that came through the default exchange."""
    return b"\0\x3c\0\x3c" + _short(consumer_tag) + pack(">QB", tag, redelivered) + _short("") + _short(queue)


def content_header(size: int, properties: bytes = b"\0\0") -> bytes:
    """Write the payload of a header frame: the class, a weight of 0, the body's size, flags and values."""
    return b"\0\x3c\0\0" + pack(">Q", size) + properties


def _short(text: str) -> bytes:
    data = text.encode()
    return bytes((len(data),)) + data
