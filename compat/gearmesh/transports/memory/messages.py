"""What is put in a queue, and what a consumer gets: raw signatures and kombu's own envelopes."""

from __future__ import annotations

from typing import Any, cast

from kombu.message import Message
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

from gearmesh.interfaces.transport import SIGNATURE_CONTENT_TYPE
from gearmesh.transports.memory.queue import StoredMessage, Unacked

__all__ = ["receive", "tag_of", "to_item"]


def to_item(message: dict[str, Any], priority: int) -> StoredMessage:
    """A message as :meth:`Channel.prepare_message` made it, ready to wait."""
    if message["content-type"] == SIGNATURE_CONTENT_TYPE:
        body = message["body"]
        return StoredMessage(body.encode() if isinstance(body, str) else bytes(body), priority=priority)
    return StoredMessage(cast(str, dumps(message)).encode(), envelope=True, priority=priority)


def tag_of(held: Unacked) -> str:
    """kombu's delivery tag; the queue's name is in it, so that a tag is all an ack needs."""
    return f"{held.delivery.id}:{held.delivery.queue}"


def receive(held: Unacked, channel: Any, consumer_tag: str) -> Message:
    """The message a consumer's callback gets; it carries ``delivery``."""
    delivery = held.delivery
    info = {
        "exchange": "",
        "routing_key": delivery.queue,
        "consumer_tag": consumer_tag,
        "redelivered": delivery.redelivered > 0,
    }
    message: Message
    if held.item.envelope:
        payload = loads(held.item.body.decode())
        properties = payload["properties"]
        properties["delivery_tag"] = tag_of(held)
        properties["delivery_info"] = {
            **info,
            **properties.get("delivery_info", {}),
            "redelivered": info["redelivered"],
        }
        message = virtual.Message(payload, channel=channel)
    else:
        message = Message(
            body=held.item.body,
            delivery_tag=tag_of(held),
            content_type=SIGNATURE_CONTENT_TYPE,
            content_encoding="binary",
            delivery_info=info,
            properties={"priority": held.item.priority},
            channel=channel,
        )
    message.delivery = delivery
    return message
