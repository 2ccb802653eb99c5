"""Converts between bytes, SQS's messages and kombu's: allowed characters, sizes, the ETA, message groups."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec
from kombu.message import Message
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

from gearmesh.errors import LocalProtocolError, RemoteProtocolError
from gearmesh.interfaces.commit import Delivery
from gearmesh.interfaces.transport import SIGNATURE_CONTENT_TYPE
from gearmesh.transports.sqs.queues import SQSQueue
from gearmesh.wire.gotime import parse
from gearmesh.wire.names import SQS_ENCODING, SQS_ENVELOPE

__all__ = [
    "MAX_DELAY_S",
    "MAX_HIDDEN_S",
    "MAX_MESSAGE_BYTES",
    "OutgoingMessage",
    "body_of",
    "check_routing",
    "deduplication_id",
    "delay_seconds",
    "eta_of",
    "text_of",
    "to_kombu",
    "to_stored",
]

#: Seconds for which SQS delays a message when it is sent: 15 minutes.
MAX_DELAY_S: Final = 900
#: Seconds for which SQS hides a message, counted from its receive: 12 hours, less a minute for requests on their way.
MAX_HIDDEN_S: Final = 43_140
#: Bytes of the largest message that any queue takes, message attributes included.
MAX_MESSAGE_BYTES: Final = 1_048_576
#: Characters of a deduplication id.
MAX_ID_CHARACTERS: Final = 128

#: Characters that SQS refuses in a body.
_REFUSED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: Those of them that JSON text may contain unescaped. Go writes them unescaped, and also reads them escaped.
_NONCHARACTERS: Final = str.maketrans({"\ufffe": "\\ufffe", "\uffff": "\\uffff"})
_ID = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]+")
#: Machinery writes no space here; a program in another language may write one.
_ETA = re.compile(rb'"ETA": ?"')


class _Fields(msgspec.Struct):
    """The fields of a signature by which SQS routes it, or that an error names."""

    UUID: str = ""
    Name: str = ""
    ETA: str | None = None
    BrokerMessageGroupId: str = ""


class OutgoingMessage(msgspec.Struct, gc=False):
    """Holds one message that is sent to SQS.

    Attributes:
        queue: the queue.
        text: the body as SQS takes it.
        attributes: message attributes, by name.
        delay: seconds for which SQS delays it; 0 on a FIFO queue.
        group: the message group's id; ``""``: the queue is not a FIFO queue.
        deduplication: the deduplication id, if there is a group.
        url: the URL of another queue to send it to, such as the dead-letter queue's; ``""``: the queue's own.
    """

    queue: SQSQueue
    text: str
    attributes: dict[str, str] = msgspec.field(default_factory=dict)
    delay: int = 0
    group: str = ""
    deduplication: str = ""
    url: str = ""

    @property
    def size(self) -> int:
        """The size as SQS counts it, in bytes: the body, and names, types and values of the message attributes."""
        more = sum(len(name) + len("String") + len(value.encode()) for name, value in self.attributes.items())
        return len(self.text.encode()) + more

    def request(self) -> dict[str, Any]:
        """Return the parameters of SendMessage, or of one entry of SendMessageBatch, without the queue."""
        params: dict[str, Any] = {"MessageBody": self.text}
        if self.attributes:
            params["MessageAttributes"] = {
                name: {"DataType": "String", "StringValue": value} for name, value in self.attributes.items()
            }
        if self.delay:
            params["DelaySeconds"] = self.delay
        if self.group:
            params["MessageGroupId"] = self.group
            params["MessageDeduplicationId"] = self.deduplication
        return params

    def check_size(self) -> None:
        """Raise LocalProtocolError if the queue takes no message of this size."""
        size = self.size
        if size <= self.queue.max_bytes:
            return
        sig = _fields_of(self.text.encode())
        raise_limit = (
            "raise the queue's MaximumMessageSize (SQS allows 1,048,576), or "
            if self.queue.max_bytes < MAX_MESSAGE_BYTES >= size
            else ""
        )
        raise LocalProtocolError(
            f"task {sig.Name!r} ({sig.UUID}): its message has {size:,} bytes, and queue {self.queue.name!r} takes "
            f"{self.queue.max_bytes:,}: {raise_limit}store the data elsewhere, for example in S3, and send its key"
        )


def text_of(body: bytes) -> tuple[str, dict[str, str]]:
    """Convert bytes to a body that SQS takes, and to the message attributes that name its encoding.

    A signature stays as it is, so that Go reads it.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = ""
    if text and _REFUSED.search(text):
        text = text.translate(_NONCHARACTERS) if text[0] == "{" else ""
        text = "" if _REFUSED.search(text) else text
    if text:
        return text, {}
    # SQS does not take an empty body, either.
    return base64.b64encode(body).decode() or "=", {SQS_ENCODING: "base64"}


def body_of(text: str, attributes: Mapping[str, str]) -> bytes:
    """Convert the body of an SQS message back to the bytes."""
    if attributes.get(SQS_ENCODING) != "base64":
        return text.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(text) if text != "=" else b""
    except binascii.Error:  # another program has written the attribute
        return text.encode()


def eta_of(body: bytes) -> int:
    """Return the ETA of a signature in unix nanoseconds; 0: it has no ETA, or an unreadable one."""
    if not _ETA.search(body):
        return 0
    try:
        eta = msgspec.json.decode(body, type=_Fields).ETA
        return parse(eta) if eta else 0
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, RemoteProtocolError):
        return 0  # the worker refuses it


def delay_seconds(eta_ns: int, now_ns: int) -> int:
    """Return the seconds until a moment, rounded up, so that a delayed message never comes too soon."""
    return max(0, -((now_ns - eta_ns) // 10**9)) if eta_ns > now_ns else 0


def check_routing(queue: str, body: bytes) -> str:
    """Return the message group of a signature for a queue; ``""`` if the queue is not a FIFO queue.

    Raises:
        LocalProtocolError: the signature has no group though the queue is a FIFO queue, or it is too large for any
            queue.
    """
    if len(body) > MAX_MESSAGE_BYTES:
        sig = _fields_of(body)
        raise LocalProtocolError(
            f"task {sig.Name!r} ({sig.UUID}): its message has {len(body):,} bytes, and SQS takes "
            f"{MAX_MESSAGE_BYTES:,}: store the data elsewhere, for example in S3, and send its key"
        )
    if not queue.endswith(".fifo"):
        return ""
    sig = _fields_of(body)
    if not sig.BrokerMessageGroupId:
        raise LocalProtocolError(
            f"task {sig.Name!r} ({sig.UUID}): it has no message group, and queue {queue!r} is a FIFO queue, expected "
            "one: give message_group=… to the task or the call (BrokerMessageGroupId)"
        )
    return sig.BrokerMessageGroupId


def deduplication_id(body: bytes, *, retry_of: str = "") -> str:
    """Return the id by which a FIFO queue drops a second copy within five minutes.

    Go: the task's UUID. A retry has the same UUID, and SQS would drop it; so it gets an id of its own, which is the
        same
        for the same bytes.

    Args:
        body: the signature.
        retry_of: the UUID of the task that sends it; ``""``: no task sends it.
    """
    uuid = _fields_of(body).UUID
    digest = hashlib.sha256(body).hexdigest()
    if uuid == retry_of and uuid:
        uuid = f"{uuid}.{digest[:32]}"
    return uuid if _ID.fullmatch(uuid) and len(uuid) <= MAX_ID_CHARACTERS else digest


def uuid_of(body: bytes) -> str:
    """Return the UUID of a signature; ``""``: it has none."""
    return _fields_of(body).UUID


def _fields_of(body: bytes) -> _Fields:
    try:
        return msgspec.json.decode(body, type=_Fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Fields()


def to_stored(message: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """Convert a message that kombu's ``prepare_message`` made to bytes and message attributes."""
    if message["content-type"] == SIGNATURE_CONTENT_TYPE:
        body = message["body"]
        return body.encode() if isinstance(body, str) else bytes(body), {}
    return cast(str, dumps(message)).encode(), {SQS_ENVELOPE: "kombu"}


def to_kombu(
    delivery: Delivery, body: bytes, attributes: Mapping[str, str], channel: Any, consumer_tag: str
) -> Message:
    """Make the message that a consumer's callback gets; it carries ``delivery``."""
    redelivered = delivery.redelivered > 0
    info = {
        "exchange": "",
        "routing_key": delivery.queue,
        "consumer_tag": consumer_tag,
        "redelivered": redelivered,
    }
    message: Message
    if SQS_ENVELOPE in attributes:
        payload = loads(body.decode())
        properties = payload["properties"]
        properties["delivery_tag"] = str(delivery.id)
        properties["delivery_info"] = (
            info | properties.get("delivery_info", {}) | {"redelivered": redelivered}
        )
        message = virtual.Message(payload, channel=channel)
    else:
        message = Message(
            body=body,
            delivery_tag=str(delivery.id),
            content_type=SIGNATURE_CONTENT_TYPE,
            content_encoding="binary",
            delivery_info=info,
            properties={},
            channel=channel,
        )
    message.delivery = delivery
    return message
