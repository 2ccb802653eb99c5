"""Turns a list item into a kombu message, and back."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

from gearmesh.errors import RemoteProtocolError
from gearmesh.interfaces.commit import Delivery
from gearmesh.interfaces.transport import SIGNATURE_CONTENT_TYPE
from gearmesh.wire.codec import decode

__all__ = ["SIGNATURE_START", "FetchedMessage", "Message", "target_queue", "to_item"]

#: Go's first field; messages of kombu's own begin differently.
SIGNATURE_START = b'{"UUID"'


class FetchedMessage(msgspec.Struct, frozen=True, gc=False):
    """A message in this process that no callback has got yet."""

    body: bytes
    delivery: Delivery


def _envelope(body: bytes) -> dict[str, Any] | None:
    """Return kombu's own envelope (control, replies, the Celery bridge's messages); None for any other body."""
    if b'"properties"' not in body:
        return None
    try:
        payload = loads(body.decode("utf-8"))
    except Exception:
        # kombu's reader makes dates, for example, from texts that look like dates, and may raise any error.
        return None
    if not isinstance(payload, dict) or "UUID" in payload or "Name" in payload:
        return None
    known = isinstance(payload.get("properties"), dict) and isinstance(payload.get("body"), str)
    return payload if known else None


class Message(virtual.Message):  # type: ignore[misc]
    """A kombu message with its delivery; the body of a signature has exactly the bytes of the list item."""

    delivery: Delivery | None

    def __init__(self, payload: FetchedMessage | dict[str, Any], channel: Any = None, **kwargs: Any) -> None:
        if not isinstance(payload, FetchedMessage):
            self.delivery = None
            super().__init__(payload, channel=channel, **kwargs)
            return
        body, delivery = payload.body, payload.delivery
        envelope = None if body.startswith(SIGNATURE_START) else _envelope(body)
        if envelope is not None:
            envelope["properties"]["delivery_tag"] = delivery.id
            self.delivery = delivery
            with contextlib.suppress(Exception):
                super().__init__(envelope, channel=channel, **kwargs)
                if not self.errors:
                    return
            # The envelope is broken: the worker gets the bytes, and makes them a dead letter.
        # Set the attributes that the base classes' constructors set, without calling these: every task passes here.
        self.delivery = delivery
        self._raw = None
        self.body = body
        self.channel = channel
        self.delivery_tag = delivery.id
        self.content_type = SIGNATURE_CONTENT_TYPE
        self.content_encoding = "binary"
        self.delivery_info = {"exchange": "", "routing_key": delivery.queue}
        self.headers: dict[str, Any] = {}
        self.properties: dict[str, Any] = {}
        self.errors: list[Any] = []
        self.accept = None
        self._decoded_cache = None
        self._state = "RECEIVED"


def to_item(message: dict[str, Any], channel: virtual.Channel) -> bytes:
    """Return the list item for a message that kombu is about to send."""
    if message.get("content-type") == SIGNATURE_CONTENT_TYPE:
        body = channel.decode_body(message["body"], message["properties"].get("body_encoding"))
        return body if isinstance(body, bytes) else str(body).encode()
    envelope: bytes = dumps(message).encode()
    return envelope


def target_queue(body: bytes, default: str) -> str:
    """Return the queue that a delayed message goes to when it is due.

    An unreadable message goes to the default queue, whose worker makes it a dead letter with a reason. (Go reads it as
    an empty signature.)
    """
    try:
        return decode(body).RoutingKey or default
    except RemoteProtocolError:
        return default
