"""Converts messages: a signature or kombu's own envelope to Pub/Sub's message, and a delivery to kombu's message."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec
from kombu.message import Message
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

from gearmesh.errors import PublishError
from gearmesh.interfaces.commit import Delivery
from gearmesh.interfaces.transport import SIGNATURE_CONTENT_TYPE
from gearmesh.transports.pubsub.api import MAX_MESSAGE_BYTES, types_of
from gearmesh.transports.pubsub.unacked import Unacked

__all__ = [
    "CRASHES",
    "DEAD_AT",
    "DEAD_REASON",
    "DUPLICATE",
    "ENVELOPE",
    "NOT_BEFORE",
    "QUEUE",
    "copy_of",
    "envelope_of",
    "message_of",
    "number",
    "to_kombu",
]

#: gearmesh's attributes; Go ignores them. Of a delayed message: unix ns before which no gearmesh worker runs it.
NOT_BEFORE: Final = "gearmesh-not-before"
#: Of a message that its sender may have sent before.
DUPLICATE: Final = "gearmesh-duplicate"
#: Of a message that ran when a process died: four times its crash count.
CRASHES: Final = "gearmesh-crashes"
#: Of a dead letter, and of a message in the delay topic: its queue.
QUEUE: Final = "gearmesh-queue"
#: Of a dead letter: the reason, and unix ms of its death.
DEAD_REASON: Final = "gearmesh-reason"
DEAD_AT: Final = "gearmesh-died"
#: Of a message of a plain kombu program: its data is kombu's JSON envelope.
ENVELOPE: Final = "gearmesh-envelope"

#: Bytes that Pub/Sub takes as one attribute's value.
MAX_ATTRIBUTE_BYTES: Final = 1024
#: A signature's key without a value, as both languages write it.
_NO_GROUP: Final = b'"BrokerMessageGroupId":""'
_GROUP: Final = b'"BrokerMessageGroupId"'


_MESSAGE: Final = types_of("PubsubMessage")


class _Grouped(msgspec.Struct):
    BrokerMessageGroupId: str = ""


class _Named(msgspec.Struct):
    UUID: str = ""
    Name: str = ""


def message_of(body: bytes, attributes: dict[str, str]) -> Any:
    """Make the PubsubMessage of a signature. Its BrokerMessageGroupId is the ordering key.

    Raises:
        PublishError: the signature is larger than Pub/Sub allows.
    """
    if len(body) > MAX_MESSAGE_BYTES:
        raise PublishError(
            f"{_name_of(body)} has {len(body):,} bytes; Pub/Sub takes messages of up to {MAX_MESSAGE_BYTES:,}. "
            "Keep large arguments in a store of your own (Cloud Storage), and send their names"
        )
    message = _MESSAGE(data=body)
    if attributes:
        message.attributes.update(attributes)
    if _GROUP in body and _NO_GROUP not in body and (key := _ordering_key(body)):
        message.ordering_key = key
    return message


def copy_of(held: Unacked, **attributes: str) -> Any:
    """Make a copy of a delivered message, with some attributes changed."""
    merged = {**held.attributes, **{name: clipped(value) for name, value in attributes.items()}}
    return types_of("PubsubMessage")(data=held.body, attributes=merged, ordering_key=held.ordering_key)


def clipped(text: str) -> str:
    """Cut a text to the length that an attribute may have."""
    return text.encode()[:MAX_ATTRIBUTE_BYTES].decode(errors="ignore")


def number(text: str | None) -> int:
    """Read an attribute, which any program may write; 0: it is missing, or not a number."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else 0


def envelope_of(message: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """Convert a message that ``Channel.prepare_message`` made to bytes and attributes."""
    if message["content-type"] == SIGNATURE_CONTENT_TYPE:
        body = message["body"]
        return (body.encode() if isinstance(body, str) else bytes(body)), {}
    return cast(str, dumps(message)).encode(), {ENVELOPE: "kombu"}


def to_kombu(held: Unacked, channel: Any, consumer_tag: str) -> Message:
    """Make the message that a consumer's callback gets; it carries ``delivery``."""
    delivery: Delivery = held.delivery
    redelivered = delivery.redelivered > 0
    info = {
        "exchange": "",
        "routing_key": delivery.queue,
        "consumer_tag": consumer_tag,
        "redelivered": redelivered,
    }
    message: Message
    if ENVELOPE in held.attributes:
        payload = loads(held.body.decode())
        properties = payload["properties"]
        properties["delivery_tag"] = delivery.id
        properties["delivery_info"] = (
            info | properties.get("delivery_info", {}) | {"redelivered": redelivered}
        )
        message = virtual.Message(payload, channel=channel)
    else:
        message = Message(
            body=held.body,
            delivery_tag=delivery.id,
            content_type=SIGNATURE_CONTENT_TYPE,
            content_encoding="binary",
            delivery_info=info,
            properties={},
            channel=channel,
        )
    message.delivery = delivery
    return message


def _ordering_key(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Grouped).BrokerMessageGroupId
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _name_of(body: bytes) -> str:
    try:
        named = msgspec.json.decode(body, type=_Named)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "the message"
    return f"task {named.Name!r} ({named.UUID})"
