"""Makes rows of messages and of arguments for pages, masked and cut to a length."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from gearmesh.errors import RemoteProtocolError
from gearmesh.web.masking import HIDDEN, Masker
from gearmesh.wire.codec import decode
from gearmesh.wire.signature import Signature

__all__ = ["Argument", "MessageRow", "argument_rows", "cut", "header_rows", "message_row", "payload_text"]

#: Characters of a message's arguments in a list.
MAX_LINE_CHARS: Final = 200
#: Characters of one value on the page of a task; the payload has the whole value.
MAX_ARGUMENT_CHARS: Final = 20_000
#: Characters of a payload on a page; a link leads to the whole payload.
MAX_PAYLOAD_CHARS: Final = 200_000


class MessageRow(NamedTuple):
    """One message in a list of messages.

    Attributes:
        uuid: the task's UUID; ``""`` if the message cannot be read.
        task: the task's name.
        arguments: ``int64:1, string:"x"``, masked; or the reason why the message cannot be read.
        retries: the number of retries that are left.
        group: the UUID of the task's group; ``""``: it is in no group.
        queue: the routing key; ``""``: the default queue.
        readable: False if the message is not a signature.
    """

    uuid: str
    task: str
    arguments: str
    retries: int
    group: str
    queue: str
    readable: bool


class Argument(NamedTuple):
    """An argument on the page of a task. ``whole``: False if the value is cut."""

    position: int
    name: str
    type: str
    value: str
    whole: bool


def cut(text: str, most: int = MAX_LINE_CHARS) -> str:
    """Cut a text to ``most`` characters, with an ellipsis at the end."""
    return text if len(text) <= most else text[: most - 1] + "…"


def message_row(body: bytes, masker: Masker, most: int = MAX_LINE_CHARS) -> MessageRow:
    """Make the row of a message; ``most``: characters of its arguments."""
    try:
        sig = decode(body)
    except RemoteProtocolError as exc:
        return MessageRow("", "", cut(f"cannot be read: {exc}"), 0, "", "", False)
    parts: list[str] = []
    size = 0
    for position, arg in enumerate(sig.Args or ()):
        value = _value(sig, position, bytes(arg.Value).decode(errors="replace"), arg.Name, masker)
        parts.append(f"{arg.Type}:{value}")
        size += len(value)
        if size > most:
            break
    arguments = cut(", ".join(parts), most)
    return MessageRow(sig.UUID, sig.Name, arguments, sig.RetryCount, sig.GroupUUID, sig.RoutingKey, True)


def _value(sig: Signature, position: int, text: str, name: str, masker: Masker) -> str:
    if masker.hides(name) or masker.hides(masker.parameter(sig.Name, position)):
        return HIDDEN
    return masker.json_text(text)


def argument_rows(sig: Signature, masker: Masker) -> list[Argument]:
    """Make the rows of a task's arguments."""
    rows = []
    for position, arg in enumerate(sig.Args or ()):
        text = _value(sig, position, bytes(arg.Value).decode(errors="replace"), arg.Name, masker)
        name = arg.Name or masker.parameter(sig.Name, position)
        whole = len(text) <= MAX_ARGUMENT_CHARS
        rows.append(Argument(position, name, arg.Type, cut(text, MAX_ARGUMENT_CHARS), whole))
    return rows


def header_rows(sig: Signature, masker: Masker) -> list[tuple[str, str]]:
    """Make the rows of a task's headers, sorted by name."""
    return [
        (
            name,
            HIDDEN if masker.hides(name) else masker.json_text(bytes(value).decode(errors="replace")),
        )
        for name, value in sorted((sig.Headers or {}).items())
    ]


def payload_text(body: bytes, masker: Masker) -> str:
    """Write the whole message as indented JSON, masked; or the reason why its values cannot be masked for certain."""
    try:
        value: Any = json.loads(body)
        return json.dumps(masker.value(value), ensure_ascii=False, indent=2)
    except RecursionError:
        return (
            "The message is nested too deep to hide its secret values: 'gearmesh pending --json' prints it."
        )
    except ValueError:
        return masker.text(body.decode("utf-8", "replace"))
