"""The message that a consumer's callback gets."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from kombu.compression import decompress
from kombu.message import Message as KombuMessage

from gearmesh.interfaces.commit import Delivery
from gearmesh.interfaces.transport import SIGNATURE_CONTENT_TYPE

if TYPE_CHECKING:
    from gearmesh.transports.amqp.subscription import FetchedMessage

__all__ = ["Message", "body_of"]

#: The content type of Machinery's signatures. kombu's own JSON always has an encoding, too.
_JSON = "application/json"


def body_of(message: Any) -> bytes:
    """Return the body of one of py-amqp's messages as bytes; py-amqp has an empty body as text."""
    body = message.body
    return body.encode() if isinstance(body, str) else bytes(body)


class Message(KombuMessage):  # type: ignore[misc]
    """A kombu message that knows its delivery; its body is always the bytes that came.

    Its ``delivery_tag`` is the delivery's id: RabbitMQ's own number changes when a redelivery is reclaimed.
    """

    delivery: Delivery | None

    def __init__(self, channel: Any, fetched: FetchedMessage) -> None:
        # Every task comes this way, so set the base class' attributes without the work of its constructor.
        delivered, properties, body, held = fetched.delivered, fetched.properties, fetched.body, fetched.held
        self.channel = channel
        self.delivery = None if held is None else held.delivery
        self.delivery_tag = delivered.tag if held is None else held.delivery.id
        kind = properties.get("content_type")
        self.content_encoding = encoding = properties.get("content_encoding")
        self.content_type = SIGNATURE_CONTENT_TYPE if kind == _JSON and encoding is None else kind
        self.delivery_info = {
            "exchange": delivered.exchange,
            "routing_key": delivered.routing_key,
            "consumer_tag": delivered.consumer_tag,
            "redelivered": delivered.redelivered,
        }
        # Copies, since messages with the same properties share the decoded ones.
        self.headers = dict(properties.get("application_headers") or ())
        self.properties = dict(properties)
        self.body = body
        self.errors: list[Any] = []
        self.accept = None
        self._decoded_cache = None
        self._state = "RECEIVED"
        compression = self.headers.get("compression")
        if compression and encoding is not None:
            try:
                self.body = decompress(body, compression)
            except Exception:  # as in kombu: decoding the message raises this
                self.errors.append(sys.exc_info())
