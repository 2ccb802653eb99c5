"""Shows messages: the important parts of a signature for people, and all of it for scripts."""

from __future__ import annotations

import base64
from typing import Any, Final, NamedTuple

import msgspec

from gearmesh.errors import RemoteProtocolError
from gearmesh.wire.codec import decode, encode
from gearmesh.wire.signature import Signature

__all__ = ["MessageText", "message_json", "message_text", "signature_of"]

#: The largest number of characters of a message's arguments that people see.
MAX_ARGUMENT_CHARS: Final = 200


class MessageText(NamedTuple):
    """The parts of a message that people see.

    Attributes:
        uuid: the task's UUID; ``"?"`` if the message cannot be read.
        task: its name; ``"?"`` if the message cannot be read.
        retries: the number of retries that are left; ``""`` if the message cannot be read.
        group: the UUID of its group; ``""``: it belongs to no group.
        arguments: ``int64:1, string:"x"``, shortened; or the reason why the message cannot be read.
    """

    uuid: str
    task: str
    retries: str
    group: str
    arguments: str


def message_text(body: bytes) -> MessageText:
    """Return the parts of a message for people."""
    try:
        sig = decode(body)
    except RemoteProtocolError as exc:
        return MessageText("?", "?", "", "", f"undecodable: {exc}")
    args = ", ".join(f"{arg.Type}:{bytes(arg.Value).decode(errors='replace')}" for arg in sig.Args or ())
    if len(args) > MAX_ARGUMENT_CHARS:
        args = args[: MAX_ARGUMENT_CHARS - 1] + "…"
    return MessageText(sig.UUID, sig.Name, str(sig.RetryCount), sig.GroupUUID, args)


def message_json(body: bytes) -> dict[str, Any]:
    """Return a message for scripts.

    The key ``signature`` has the message as on the wire. If the message cannot be read, ``undecodable`` has the reason
    and ``body`` its bytes in base64.
    """
    try:
        return {"signature": msgspec.Raw(encode(decode(body)))}
    except RemoteProtocolError as exc:
        return {"undecodable": str(exc), "body": base64.b64encode(body).decode()}


def signature_of(body: bytes) -> Signature:
    """Return the message's signature; an empty one if the message cannot be read, as in Go."""
    try:
        return decode(body)
    except RemoteProtocolError:
        return Signature()
