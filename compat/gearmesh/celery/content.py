"""A task call in the terms of Celery's protocol 2, read from kombu messages and written to them. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from gearmesh.celery.values import plain, rich
from gearmesh.errors import LocalProtocolError

__all__ = ["DEFAULT_HEADERS", "EMBED_KEYS", "TaskMessage", "priority_of", "read", "usual_headers", "write"]

JSON: Final = "application/json"
MSGPACK: Final = "application/x-msgpack"

#: The headers of protocol 2, and the usual value of each.
DEFAULT_HEADERS: Final[Mapping[str, Any]] = {
    "lang": "py",
    "task": None,
    "id": None,
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "retries": 0,
    "timelimit": [None, None],
    "root_id": None,
    "parent_id": None,
    "argsrepr": None,
    "kwargsrepr": None,
    "origin": None,
    "ignore_result": None,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
    "stamps": {},
}
EMBED_KEYS: Final = ("callbacks", "errbacks", "chain", "chord")
_CHOSEN: Final = {"app_id", "cluster_id", "message_id", "timestamp", "type", "user_id"}
_PROTOCOL_1: Final = {"task", "id", "args", "kwargs"}


def usual_headers() -> dict[str, Any]:
    """A copy of :data:`DEFAULT_HEADERS` that may be changed."""
    return {**DEFAULT_HEADERS, "timelimit": [None, None], "stamps": {}}


def priority_of(value: Any, name: str) -> int:
    """A priority as Go keeps it, 0 to 255; None becomes 0. ``name``: the task's.

    Raises:
        LocalProtocolError: it is another value.
    """
    if value is None:
        return 0
    if not isinstance(value, int) or not 0 <= value < 256:
        raise LocalProtocolError(
            f"task {name!r}: priority is {value!r:.80}, expected a whole number from 0 to 255"
        )
    return value


class TaskMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A call in the terms of Celery's protocol 2, with its content decoded.

    Attributes:
        headers: all headers of the message; ``task`` and ``id`` are among them.
        args, kwargs: values as JSON has them (bytes are marked, see :mod:`.values`).
        embed: ``callbacks``, ``errbacks``, ``chain``, ``chord``; each may be missing or None.
        priority: 0 to 255. reply_to: ``""`` for none. properties: other properties that the caller chose.
        requeued: True if a worker had received the message and returned it to its queue.
        content: the format of the sender's content; the reader gets the same format.
    """

    headers: dict[str, Any]
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    embed: dict[str, Any] = {}
    priority: int = 0
    reply_to: str = ""
    properties: dict[str, Any] = {}
    content: Literal["json", "msgpack"] = "json"
    requeued: bool = False

    @property
    def name(self) -> str:
        """The task's registered name."""
        return str(self.headers["task"])

    @property
    def id(self) -> str:
        """The task's id, a Signature's UUID."""
        return str(self.headers["id"])


def read(
    body: bytes | str, content_type: str | None, headers: Mapping[str, Any], properties: Mapping[str, Any]
) -> TaskMessage | None:
    """Read a kombu message's content as a call, in protocol 2 or 1; None if it is not a call (control, events).

    Args:
        body: the serialized content, decompressed.

    Raises:
        LocalProtocolError: the message is a call, but its content is neither JSON nor MessagePack, or is damaged.
    """
    if content_type not in (JSON, MSGPACK):
        if "task" not in headers:
            return None
        raise LocalProtocolError(
            f"task {headers['task']!r}: content type {content_type!r}, expected JSON or MessagePack: "
            "set task_serializer = 'json' (gearmesh does not send pickle and yaml)"
        )
    content = _load(body, content_type, headers.get("task"))
    if "task" in headers:
        try:
            args, kwargs, embed = content
        except (TypeError, ValueError):
            raise LocalProtocolError(
                f"task {headers['task']!r}: content {content!r:.80}, expected [args, kwargs, embed]"
            ) from None
    elif isinstance(content, dict) and content.keys() >= _PROTOCOL_1:
        headers = usual_headers() | dict(headers) | _headers_of_protocol_1(content)
        args, kwargs = content["args"], content["kwargs"]
        embed = {name: content.get(name) for name in EMBED_KEYS}
    else:
        return None
    if not isinstance(args, list) or not isinstance(kwargs, dict) or not isinstance(embed or {}, dict):
        raise LocalProtocolError(
            f"task {headers['task']!r}: arguments {args!r:.80} and {kwargs!r:.80}, expected a list and a mapping"
        )
    return TaskMessage(
        headers=dict(headers),
        args=args,
        kwargs=kwargs,
        embed=embed or {},
        priority=priority_of(properties.get("priority"), str(headers["task"])),
        reply_to=str(properties.get("reply_to") or ""),
        properties={name: properties[name] for name in properties.keys() & _CHOSEN if properties[name]},
        content="json" if content_type == JSON else "msgpack",
    )


def _load(body: bytes | str, content_type: str, name: object) -> Any:
    try:
        if content_type == JSON:
            return json.loads(body)
        return plain(msgspec.msgpack.decode(body if isinstance(body, bytes) else body.encode()))
    except (ValueError, msgspec.MsgspecError, RecursionError) as exc:
        called = "a message" if name is None else f"task {name!r}"
        # A group, chain or chord is a dictionary with a length of its own, and MessagePack writes that length.
        advice = "" if content_type == JSON else "; if it has a workflow in it, set task_serializer = 'json'"
        raise LocalProtocolError(f"{called}: its content cannot be read: {exc}{advice}") from exc


def _headers_of_protocol_1(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{key: value for key, value in content.items() if key in DEFAULT_HEADERS},
        "lang": "py",
        "group": content.get("taskset") or content.get("group"),
        "root_id": content.get("root_id") or content["id"],
        "timelimit": content.get("timelimit") or [None, None],
    }


def write(message: TaskMessage) -> tuple[bytes, str, str]:
    """Write a call's content for Celery; returns its bytes, content type and content encoding."""
    content = [message.args, message.kwargs, message.embed]
    if message.content == "msgpack":
        return msgspec.msgpack.encode(rich(content)), MSGPACK, "binary"
    return json.dumps(content, separators=(",", ":")).encode(), JSON, "utf-8"
