"""Requests to workers and their replies, as JSON, and the list of verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from gearmesh.errors import ConfigError, RemoteProtocolError
from gearmesh.log_levels import LEVELS

__all__ = ["MAX_SLOT_CHANGE", "VERBS", "Reply", "Request", "Verb", "check", "decode_reply", "decode_request"]

#: The largest number of slots by which one request lets a worker grow or shrink.
MAX_SLOT_CHANGE: Final = 1000
#: The largest number of characters of a name in a request.
MAX_NAME_CHARS: Final = 500


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Asks workers to do something, or to report something: a verb with its arguments.

    Attributes:
        id: an id that no other request has.
        verb: one of :data:`VERBS`.
        args: the verb's arguments.
        to: names of the workers that it is for; empty: all.
        reply_to: the address for replies.
    """

    id: str
    verb: str
    args: dict[str, str | int] = {}
    to: tuple[str, ...] = ()
    reply_to: str = ""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """Holds the reply of one worker to a request.

    Attributes:
        id: the request's id.
        worker: the worker's name, which several workers may share.
        instance: a name that no other worker has; ``""``: no other worker has the name ``worker``.
        error: why the worker does nothing; ``""``: it has begun to carry out the request.
        data: the requested data.
    """

    id: str
    worker: str
    instance: str = ""
    error: str = ""
    data: dict[str, Any] = {}


class Verb(NamedTuple):
    """Describes a verb that workers know, with its arguments.

    Attributes:
        args: for each argument, the expected value in words, and a function that checks a value.
        help: a sentence.
    """

    args: Mapping[str, tuple[str, Callable[[Any], bool]]]
    help: str


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_SLOT_CHANGE


_NAME: Final = ("a name", _is_name)
_KIND: Final = ("'queue' or 'task'", lambda value: value in ("queue", "task"))
_COUNT: Final = (f"a whole number from 1 to {MAX_SLOT_CHANGE}", _is_count)
_LEVEL: Final = (f"one of {', '.join(LEVELS)}", lambda value: value in LEVELS)

#: All verbs.
VERBS: Final[Mapping[str, Verb]] = {
    "ping": Verb({}, "Say that the worker is there."),
    "status": Verb({}, "Describe the worker and its running tasks."),
    "pause": Verb({"kind": _KIND, "name": _NAME}, "Begin no more runs of a task, or of a queue's tasks."),
    "resume": Verb({"kind": _KIND, "name": _NAME}, "Undo pause."),
    "grow": Verb({"count": _COUNT}, "Raise the number of tasks that run at a time."),
    "shrink": Verb({"count": _COUNT}, "Lower the number of tasks that run at a time, to one at least."),
    "log-level": Verb({"level": _LEVEL}, "Log from this level on."),
    "shutdown": Verb({}, "Stop as at SIGTERM: running tasks have the grace time to finish."),
}

_requests: Final = msgspec.json.Decoder(Request)
_replies: Final = msgspec.json.Decoder(Reply)


def check(verb: str, args: Mapping[str, Any]) -> None:
    """Check a verb and its arguments.

    Raises:
        ConfigError: the verb or an argument is wrong.
    """
    known = VERBS.get(verb)
    if known is None:
        raise ConfigError(f"remote control: the verb is {verb!r:.80}, expected one of {', '.join(VERBS)}")
    for name, (expected, fits) in known.args.items():
        if not fits(args.get(name)):
            raise ConfigError(
                f"remote control: {name} of {verb} is {args.get(name)!r:.80}, expected {expected}"
            )
    if more := set(args) - set(known.args):
        raise ConfigError(f"remote control: {verb} has no argument {min(more)!r:.80}")


def decode_request(body: bytes) -> Request:
    """Read a request. Raises RemoteProtocolError if ``body`` is no request."""
    request: Request = _decoded(_requests, body, "request")
    return request


def decode_reply(body: bytes) -> Reply:
    """Read a reply. Raises RemoteProtocolError if ``body`` is no reply."""
    reply: Reply = _decoded(_replies, body, "reply")
    return reply


def _decoded(decoder: msgspec.json.Decoder[Any], body: bytes, what: str) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise RemoteProtocolError(f"remote control: this is no {what}: {exc}") from exc
