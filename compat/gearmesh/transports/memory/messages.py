"""Converts between kombu's messages and stored ones; both raw signatures and kombu's own envelopes."""

from __future__ import annotations

from typing import Any, cast

from kombu.message import Message
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

from gearmesh.interfaces.transport import SIGNATURE_CONTENT_TYPE
from gearmesh.transports.memory.queue import StoredMessage, Unacked

__all__ = ["to_kombu", "to_stored"]


def to_stored(message: dict[str, Any], priority: int) -> StoredMessage:
    """Convert a message that ``Channel.prepare_message`` made to the one that the queue stores."""
    if message["content-type"] == SIGNATURE_CONTENT_TYPE:
        body = message["body"]
        return StoredMessage(body.encode() if isinstance(body, str) else bytes(body), priority=priority)
    return StoredMessage(cast(str, dumps(message)).encode(), envelope=True, priority=priority)


def to_kombu(unacked: Unacked, channel: Any, consumer_tag: str) -> Message:
    """Make the message that a consumer's callback gets; it carries ``delivery``."""
    delivery, stored = unacked.delivery, unacked.message
    delivery_tag = f"{delivery.id}:{delivery.queue}"  # with the queue, since an ack has only the tag
    redelivered = delivery.redelivered > 0
    info = {
        "exchange": "",
        "routing_key": delivery.queue,
        "consumer_tag": consumer_tag,
        "redelivered": redelivered,
    }
    message: Message
    if stored.envelope:
        payload = loads(stored.body.decode())
        properties = payload["properties"]
        properties["delivery_tag"] = delivery_tag
        properties["delivery_info"] = (
            info | properties.get("delivery_info", {}) | {"redelivered": redelivered}
        )
        message = virtual.Message(payload, channel=channel)
    else:
        message = Message(
            body=stored.body,
            delivery_tag=delivery_tag,
            content_type=SIGNATURE_CONTENT_TYPE,
            content_encoding="binary",
            delivery_info=info,
            properties={"priority": stored.priority},
            channel=channel,
        )
    message.delivery = delivery
    return message
