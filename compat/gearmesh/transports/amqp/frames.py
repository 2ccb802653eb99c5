"""AMQP 0-9-1 frames that every task needs, written and read faster than by py-amqp.

Everything else goes through py-amqp. Layouts: https://www.rabbitmq.com/amqp-0-9-1-reference.html; the letters of
table values are RabbitMQ's.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Any, Final, NamedTuple

import msgspec
from amqp.serialization import decode_properties_basic

__all__ = [
    "BASIC_DELIVER",
    "Delivered",
    "OutgoingMessage",
    "QueueDeclaration",
    "Writer",
    "ack",
    "nack",
    "read_deliver",
    "read_properties",
    "table",
]

FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_END = 1, 2, 3, b"\xce"
#: Class and method of basic.deliver, as its frame has them.
BASIC_DELIVER: Final = b"\x00\x3c\x00\x3c"

_frame = Struct(">BHI")
_size = Struct(">Q")
_ack = Struct(">BHIHHQBB")
_long = Struct(">I")
_deliver_end = Struct(">QB")
#: Number of kinds of messages for which a writer keeps the bytes that do not change.
_MAX_CACHED_KINDS: Final = 256

#: Bits of the properties that we write, in the order in which their values follow.
_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE, _PRIORITY, _EXPIRATION = 1 << 15, 1 << 13, 1 << 12, 1 << 11, 1 << 8


class QueueDeclaration(NamedTuple):
    """A queue to declare, and its binding to an exchange.

    Attributes:
        binding_key: the key of its binding; ``""``: the queue is not bound.
        exchange: the exchange of the delay queues to which it is bound; ``""``: Machinery's.
    """

    name: str
    arguments: Mapping[str, Any] = {}  # never changed
    binding_key: str = ""
    binding_arguments: Mapping[str, Any] = {}
    auto_delete: bool = False
    exchange: str = ""


class OutgoingMessage(msgspec.Struct, frozen=True, gc=False):
    """A message to publish, with its exchange and routing key.

    Attributes:
        exchange: ``""`` is the default exchange, where the routing key is a queue's name.
        headers: the headers of the message; None: there are none.
        expiration: the TTL in ms, as text; ``""``: the message does not expire.
        transient: the message need not survive a restart of RabbitMQ.
        queue: the declared queue for the message, which the publisher may declare again; None: it declares none.
    """

    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, Any] | None = None
    priority: int = 0
    expiration: str = ""
    content_type: str = "application/json"
    transient: bool = False
    queue: QueueDeclaration | None = None

    @property
    def way(self) -> tuple[str, str]:
        """The exchange and the routing key."""
        return self.exchange, self.routing_key

    def properties(self) -> bytes:
        """Encode the flags and values of the header frame."""
        flags = _CONTENT_TYPE | _DELIVERY_MODE
        values = [_short(self.content_type)]
        if self.headers:  # Go: writes no empty table
            flags |= _HEADERS
            values.append(table(self.headers))
        values.append(b"\x01" if self.transient else b"\x02")
        if self.priority:  # Go: writes no priority of 0
            flags |= _PRIORITY
            values.append(bytes((min(self.priority, 255),)))
        if self.expiration:
            flags |= _EXPIRATION
            values.append(_short(self.expiration))
        return flags.to_bytes(2, "big") + b"".join(values)


class Writer:
    """Writes basic.publish on one channel.

    Many messages differ only in their bodies. So the writer encodes the bytes before and behind the body's size in
    their first two frames once for each kind of message.

    Args:
        channel: the channel's number.
        frame_max: bytes of the longest frame that both sides allow.
    """

    def __init__(self, channel: int, frame_max: int) -> None:
        self._channel = channel
        self._most = frame_max - 8
        self._kinds: dict[tuple[Any, ...], tuple[bytes, bytes]] = {}

    def write(self, item: OutgoingMessage) -> bytes:
        """Return all frames of one message. Raises ValueError for a name that is too long, TypeError for a header."""
        body = item.body
        if item.headers:
            before, behind = self._around(item)
        else:
            key = (
                item.routing_key,
                item.exchange,
                item.priority,
                item.expiration,
                item.content_type,
                item.transient,
            )
            known = self._kinds.get(key)
            if known is None:
                if len(self._kinds) >= _MAX_CACHED_KINDS:
                    self._kinds.clear()
                known = self._kinds[key] = self._around(item)
            before, behind = known
        size = len(body)
        most = self._most
        if 0 < size <= most:
            frame = _frame.pack(FRAME_BODY, self._channel, size)
            return b"".join((before, _size.pack(size), behind, frame, body, FRAME_END))
        parts = [before, _size.pack(size), behind]
        for start in range(0, size, most):
            part = body[start : start + most]
            parts += (_frame.pack(FRAME_BODY, self._channel, len(part)), part, FRAME_END)
        return b"".join(parts)

    def _around(self, item: OutgoingMessage) -> tuple[bytes, bytes]:
        """Return the bytes of the method and header frames that stand before and behind the body's size."""
        method = b"".join(
            (
                b"\x00\x3c\x00\x28\x00\x00",
                _short(item.exchange),
                _short(item.routing_key),
                b"\x01",  # mandatory: RabbitMQ returns the message if no queue takes it
            )
        )
        properties = item.properties()
        before = (
            _frame.pack(FRAME_METHOD, self._channel, len(method)),
            method,
            FRAME_END,
            _frame.pack(FRAME_HEADER, self._channel, 12 + len(properties)),
            b"\x00\x3c\x00\x00",
        )
        return b"".join(before), properties + FRAME_END


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """Holds the fields of a basic.deliver frame, without the message."""

    consumer_tag: str
    tag: int
    redelivered: bool
    exchange: str
    routing_key: str


def read_deliver(frame: bytes) -> Delivered:
    """Read the payload of a method frame that begins with :data:`BASIC_DELIVER`."""
    at = 5 + frame[4]
    consumer_tag = frame[5:at].decode()
    tag, redelivered = _deliver_end.unpack_from(frame, at)
    at += 9
    end = at + 1 + frame[at]
    exchange = frame[at + 1 : end].decode()
    routing_key = frame[end + 1 : end + 1 + frame[end]].decode("utf-8", "surrogateescape")
    return Delivered(consumer_tag, tag, bool(redelivered & 1), exchange, routing_key)


def read_properties(raw: bytes) -> dict[str, Any]:
    """Decode the flags and values of a header frame, by py-amqp's names."""
    properties: dict[str, Any]
    properties, _ = decode_properties_basic(raw, 0)
    return properties


def ack(channel: int, tag: int, *, multiple: bool = False) -> bytes:
    """Encode basic.ack; ``multiple``: for all deliveries up to ``tag``."""
    return _ack.pack(FRAME_METHOD, channel, 13, 60, 80, tag, multiple, 0xCE)


def nack(channel: int, tag: int) -> bytes:
    """Encode basic.nack, which returns the delivery to its queue."""
    return _ack.pack(FRAME_METHOD, channel, 13, 60, 120, tag, 2, 0xCE)


def table(values: Mapping[str, Any]) -> bytes:
    """Encode a table with its length. Raises TypeError for a value that no table can hold."""
    body = b"".join(_short(name) + _value(value) for name, value in values.items())
    return _long.pack(len(body)) + body


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogateescape")
        return b"S" + _long.pack(len(data)) + data
    if isinstance(value, bool):
        return b"t\x01" if value else b"t\x00"
    if isinstance(value, int):
        if not -(1 << 31) <= value < 1 << 31:
            return b"l" + value.to_bytes(8, "big", signed=True)
        return b"I" + value.to_bytes(4, "big", signed=True)
    if isinstance(value, float):
        return b"d" + Struct(">d").pack(value)
    if isinstance(value, bytes):
        return b"x" + _long.pack(len(value)) + value
    if isinstance(value, Mapping):
        return b"F" + table(value)
    if isinstance(value, (list, tuple)):
        items = b"".join(map(_value, value))
        return b"A" + _long.pack(len(items)) + items
    if value is None:
        return b"V"
    raise TypeError(f"a table can't hold {value!r}, a {type(value).__name__}")


def _short(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    if len(data) > 255:
        raise ValueError(f"{text!r} has {len(data)} bytes, AMQP allows 255 in a name")
    return bytes((len(data),)) + data
