"""Takes a document out of the envelopes that other programs put around it."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final, NamedTuple

import msgspec

from gearmesh.errors import LocalProtocolError
from gearmesh.explain.spans import Span
from gearmesh.wire import gotime
from gearmesh.wire.gojson.depth import shallow
from gearmesh.wire.state import ZERO_TIME

__all__ = ["Envelope", "Unread", "from_base64", "unwrap"]

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/\r\n]{16,}={0,2}\s*")
#: Unix milliseconds; RFC 3339 cannot write the year of a longer number.
_MILLISECONDS: Final = re.compile(r"-?\d{1,14}", re.ASCII)
#: Fields of MongoDB's documents, Go's names for them, and the value of a missing one.
_MONGO_STATE: Final[tuple[tuple[str, str, Any], ...]] = (
    ("_id", "TaskUUID", ""),
    ("task_name", "TaskName", ""),
    ("state", "State", ""),
    ("results", "Results", None),
    ("error", "Error", ""),
    ("created_at", "CreatedAt", ZERO_TIME),
    ("ttl", "TTL", 0),
)
_MONGO_GROUP: Final[tuple[tuple[str, str, Any], ...]] = (
    ("_id", "GroupUUID", ""),
    ("task_uuids", "TaskUUIDs", None),
    ("chord_triggered", "ChordTriggered", False),
    ("lock", "Lock", False),
    ("created_at", "CreatedAt", ZERO_TIME),
    ("ttl", "TTL", 0),
)


class Unread(NamedTuple):
    """A result that Go cannot read from its backend: its type, and the error of a caller's Get."""

    type: str
    error: str


class Envelope(NamedTuple):
    """A document that was taken out of its envelope.

    ``text`` describes the envelope in sentences. ``body`` has the document's bytes, to which all positions refer.
    ``unread`` is the first result that a Go caller cannot read from its backend; None: no such result is known.
    ``is_message``: workers read the envelope itself as a message, so ``body`` is the envelope.
    """

    text: str
    body: bytes
    unread: Unread | None = None
    is_message: bool = False


def from_base64(data: bytes) -> bytes | None:
    """Decode a base64 text; None if it is not base64, or holds no JSON object."""
    if not _BASE64.fullmatch(data.strip() + b"\n"):
        return None
    try:
        body = base64.b64decode(data, validate=False)
    except (binascii.Error, ValueError):
        return None
    return body if body.lstrip()[:1] == b"{" else None


def unwrap(root: Span, data: bytes) -> list[Envelope]:
    """Return the documents in an envelope; an empty list if the object is not an envelope of a known program."""
    for find in (_ours, _kombu, _rabbitmq, _sqs, _pubsub, _dynamodb, _mongodb):
        found = find(root, data)
        if found:
            return found
    return []


def _ours(root: Span, data: bytes) -> list[Envelope]:
    """Return the documents in a row that gearmesh has printed with ``--json``."""
    signature, body, why = root.find("signature"), root.find("body"), root.find("undecodable")
    about = ", ".join(
        f"{name} {value}" for name in ("queue", "due", "reason") if (value := _str(root.find(name)))
    )
    where = f" ({about})" if about else ""
    if signature is not None and signature.entries is not None:
        return [Envelope(f"From gearmesh's --json{where}.", data[signature.start : signature.end])]
    if why is not None and body is not None:
        return [Envelope(f"From gearmesh's --json{where}, in base64.", _base64(_str(body)))]
    group = root.find("group")
    if group is not None and group.find("TaskUUIDs") is not None:
        found = [Envelope("From gearmesh's --json.", data[group.start : group.end])]
        for one in root.elements("members"):
            found.append(Envelope("A member of the group.", data[one.start : one.end]))
        return found
    return []


def _kombu(root: Span, data: bytes) -> list[Envelope]:
    body, properties = root.find("body"), root.find("properties")
    if body is None or properties is None or properties.entries is None or root.find("content-type") is None:
        return []
    encoded = _str(properties.find("body_encoding")) == "base64"
    text = _str(body)
    headers = root.find("headers")
    task = _str(headers.find("task")) if headers is not None else ""
    if task:
        about = (
            f"This is an envelope of kombu with a call of the Celery task {task!r}. Neither a Go worker nor a gearmesh "
            "worker can run it, so give Celery a queue of its own. A worker on Redis reads the envelope itself as a "
            "message, as follows."
        )
        return [Envelope(about, data, is_message=True)]
    kind = ", in base64" if encoded else ""
    return [
        Envelope(
            f"The document is in an envelope of kombu{kind}.",
            _base64(text) if encoded else text.encode(),
        )
    ]


def _rabbitmq(root: Span, _data: bytes) -> list[Envelope]:
    payload = root.find("payload")
    if payload is None or root.find("routing_key") is None:
        return []
    encoded = _str(root.find("payload_encoding")) == "base64"
    body = _base64(_str(payload)) if encoded else _str(payload).encode()
    again = root.find("redelivered")
    redelivered = ", redelivered" if again is not None and again.scalar is True else ""
    return [
        Envelope(
            (
                "From RabbitMQ's management interface, with the routing key "
                f"{_str(root.find('routing_key'))!r}{redelivered}."
            ),
            body,
        )
    ]


def _sqs(root: Span, _data: bytes) -> list[Envelope]:
    messages = root.find("Messages")
    rows = messages.items if messages is not None and messages.items is not None else [root]
    found = []
    for row in rows:
        if row.find("MessageId") is not None and row.find("Body") is not None:
            found.append(
                Envelope(f"Message {_str(row.find('MessageId'))} of SQS.", _str(row.find("Body")).encode())
            )
    return found


def _pubsub(root: Span, _data: bytes) -> list[Envelope]:
    received = root.find("receivedMessages")
    rows = received.items if received is not None and received.items is not None else [root]
    found = []
    for row in rows:
        message = row.find("message") or row
        if message.find("data") is not None and (row.find("ackId") or message.find("messageId")) is not None:
            found.append(
                Envelope(
                    f"Message {_str(message.find('messageId'))} of Google Pub/Sub, in base64.",
                    _base64(_str(message.find("data"))),
                )
            )
    return found


def _dynamodb(root: Span, data: bytes) -> list[Envelope]:
    item = root.find("Item") or root
    entries = item.entries or []
    if not entries or not {entry.name for entry in entries} & {"TaskUUID", "GroupUUID"}:
        return []
    if not all(_is_attribute(entry.value) for entry in entries):
        return []
    plain = _python(item, data)
    if not isinstance(plain, dict):
        return []
    body = msgspec.json.encode({name: _attribute(value) for name, value in plain.items()})
    return [
        Envelope(
            "An item of DynamoDB. It is explained as the JSON document that Machinery makes of it.", body
        )
    ]


def _is_attribute(value: Span) -> bool:
    entries = value.entries
    return (
        entries is not None
        and len(entries) == 1
        and entries[0].name in ("S", "N", "B", "BOOL", "NULL", "L", "M")
    )


def _attribute(value: Any) -> Any:
    ((kind, inner),) = value.items()
    if kind == "N":
        return msgspec.Raw(str(inner).encode())
    if kind == "NULL":
        return None
    if kind == "L":
        return [_attribute(one) for one in inner]
    if kind == "M":
        return {name: _attribute(one) for name, one in inner.items()}
    return inner


def _mongodb(root: Span, data: bytes) -> list[Envelope]:
    names = {entry.name for entry in root.entries or ()}
    if "_id" not in names or not names & {"state", "task_uuids"}:
        return []
    plain = _python(root, data)
    if not isinstance(plain, dict):
        return []
    fields = _MONGO_GROUP if "task_uuids" in names else _MONGO_STATE
    # A field that the document lacks is zero, empty or null, as for Go.
    said = {name: _extended(plain[key]) if key in plain else default for key, name, default in fields}
    unread: Unread | None = None
    text = "A document of MongoDB. It is explained as the JSON document that Machinery makes of it."
    if isinstance(said.get("Results"), list):
        rows = [one for one in plain["results"] if isinstance(one, dict)]
        unread = next(filter(None, (_unread(one.get("type"), one.get("value")) for one in rows)), None)
        said["Results"] = [_result(one.get("type"), one.get("value")) for one in rows]
        if any(one.get("type") == "json" for one in rows):
            text += (
                " A result of the type json was a string with JSON in it, which a Go worker stored as an object. Here "
                "it is a string again."
            )
    return [Envelope(text, msgspec.json.encode(said), unread)]


def _result(type: Any, value: Any) -> dict[str, Any]:
    """Return one result as Machinery reads it. Go stores a string that has JSON in it with the type ``json``."""
    plain = _extended(value)
    if type == "json":
        return {"Type": "string", "Value": msgspec.json.encode(plain).decode()}
    return {"Type": type, "Value": plain}


def _unread(type: Any, value: Any) -> Unread | None:
    """Return the error with which Go refuses a result from MongoDB, even one that Go stored; None if Go can read it."""
    if type == "json":
        return Unread("json", "json is not one of supported types")
    kind = str(type).removeprefix("[]")
    for one in value if isinstance(value, list) else [value]:
        # A plain number, in the relaxed notation, does not show how many bits are stored.
        typed = one if isinstance(one, dict) else {"": one} if isinstance(one, int) else {}
        if "$binary" in typed:
            return Unread(str(type), f"Go stores a {type} as binary data, which it cannot read")
        number = next((typed[key] for key in ("$numberInt", "$numberLong", "") if key in typed), None)
        if number is not None and ("$numberInt" in typed or kind.startswith("uint")):
            return Unread(str(type), f"{number} is not {kind}")
    return None


def _extended(value: Any) -> Any:
    """Convert MongoDB's extended JSON to plain JSON."""
    if isinstance(value, list):
        return [_extended(one) for one in value]
    if not isinstance(value, dict):
        return value
    number = value.get("$numberInt", value.get("$numberLong", value.get("$numberDouble")))
    if number is not None:
        return msgspec.Raw(str(number).encode())
    if "$date" in value:
        return _date(value["$date"])
    if "$binary" in value:
        inner = value["$binary"]
        return inner.get("base64") if isinstance(inner, dict) else inner
    return {name: _extended(one) for name, one in value.items()}


def _date(value: Any) -> Any:
    """Return the time as Go writes it, and any other value unchanged, so that the check of the fields reports it."""
    if not isinstance(value, dict):
        return value
    digits = str(value.get("$numberLong", ""))
    try:
        return gotime.format_ns(int(digits) * 1_000_000) if _MILLISECONDS.fullmatch(digits) else digits
    except LocalProtocolError:
        return digits


def _python(span: Span, data: bytes) -> Any:
    """Decode an object into plain values; None if it is nested too deeply, or if msgspec refuses it."""
    text = data[span.start : span.end]
    if not shallow(text):
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError):
        return None


def _str(span: Span | None) -> str:
    return str(span.scalar) if span is not None and isinstance(span.scalar, str) else ""


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return text.encode()
