"""Converts one task call between Celery's message and Machinery's Signature. Pure: no clock, no socket.

A field that Celery and Machinery both have goes into the Signature. All other fields of Celery travel as one JSON text
in ``Headers["celery"]``: it is a text because Go cannot publish nested headers again on AMQP. :class:`_PackedHeader`
has its fields, and ``_LETTERS`` their names in the text.

Go appends results to the arguments, and Celery puts them in front. That header has the number of the call's own
arguments, which tells the two apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final, Literal

import msgspec

from gearmesh.celery.content import DEFAULT_HEADERS, EMBED_KEYS, TaskMessage, usual_headers
from gearmesh.celery.step_types import is_raw, raw_of, raw_step
from gearmesh.celery.values import from_json, in_json, typed
from gearmesh.declarations.declaration import ArgumentUnreadable
from gearmesh.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from gearmesh.wire import types as wire
from gearmesh.wire.codec import decode, encode
from gearmesh.wire.expiry import expiry_ns
from gearmesh.wire.names import EXPIRES_HEADER
from gearmesh.wire.signature import Arg, Signature

__all__ = ["CELERY_HEADER", "ORIGIN_HEADER", "from_wire", "own_headers", "to_wire"]

#: The name of the packed header in a Signature's Headers.
CELERY_HEADER: Final = "celery"
#: The header with the signature of a call that a Go program made, without the signatures that follow it and without
#: the values of its arguments.
ORIGIN_HEADER: Final = "gearmesh"


def to_wire(message: TaskMessage, *, queue: str, results: bool = True) -> Signature:
    """The Signature of a call that a Celery worker will run.

    Args:
        queue: the Signature's RoutingKey.
        results: False if the task ignores the results that Go appends (Celery's ``immutable``).

    Raises:
        LocalProtocolError: a value of the call cannot be written as JSON.
    """
    headers = message.headers
    origin = headers.get(ORIGIN_HEADER)
    base = _origin_of(message)
    args = _typed(message.args, base)
    has_types = len(args) == len(message.args)
    args = args if has_types else ()
    outside = own_headers(headers)
    kept, base = _split(message.embed, base)
    packed = _PackedHeader(
        own_args=len(args),
        headers={name: value for name, value in _unusual(headers).items() if name not in (*outside, "eta")},
        untyped_args=None if has_types else message.args,
        kwargs=message.kwargs,
        embed=kept,
        reply_to=message.reply_to,
        properties=message.properties,
        requeued=int(message.requeued),
        content=message.content,
        takes_no_results=int(not results),
        from_go=int(origin is not None),
    )
    group = headers.get("group")
    return base.evolve(
        UUID=message.id,
        Name=message.name,
        RoutingKey=queue,
        ETA=None,
        GroupUUID=group if base.ChordCallback is not None and isinstance(group, str) else "",
        Args=args,
        Headers={**(base.Headers or {}), **outside, CELERY_HEADER: _packed(packed)},
        Priority=message.priority,
    )


def _origin_of(message: TaskMessage) -> Signature:
    """The signature of the Go program that made this call; an empty one for Celery's own calls."""
    origin = message.headers.get(ORIGIN_HEADER)
    if origin is None:
        return Signature()
    try:
        return decode(origin.encode())
    except (ProtocolError, AttributeError):
        raise LocalProtocolError(
            f"task {message.name!r}: header {ORIGIN_HEADER!r} is {origin!r:.80}, expected another name for it: "
            "the bridge has a header of that name"
        ) from None


def _typed(values: Sequence[Any], base: Signature) -> tuple[Arg, ...]:
    """The arguments that have Go types. In a call that a Go program made, they keep the types of that program."""
    types = [arg.Type for arg in base.Args or ()]
    if len(types) == len(values):
        try:
            return tuple(wire.arg(of, from_json(value)) for of, value in zip(types, values, strict=True))
        except LocalProtocolError:  # a retry with other arguments
            pass
    return tuple(arg for arg in map(typed, values) if arg is not None)


def own_headers(headers: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    """The caller's own headers that are text or bool, which Go can see.

    Go: a program cannot publish a message again on AMQP if its Headers have numbers or objects.
    """
    found = {}
    for name, value in headers.items():
        if name in DEFAULT_HEADERS or name in (CELERY_HEADER, ORIGIN_HEADER):
            continue
        kind = {str: "string", bool: "bool"}.get(type(value))
        if kind is not None:
            try:
                found[name] = wire.dump(kind, value)
            except LocalProtocolError:  # not Unicode text, so it goes into the packed header for Celery alone
                continue
    return found


def _unusual(headers: Mapping[str, Any]) -> dict[str, Any]:
    root = headers.get("root_id")
    return {
        name: value
        for name, value in headers.items()
        if not (name in ("task", "id", ORIGIN_HEADER) or (name == "root_id" and root == headers["id"]))
        and (name not in DEFAULT_HEADERS or not _same(DEFAULT_HEADERS[name], value))
    }


def _same(usual: Any, value: Any) -> bool:
    return type(usual) is type(value) and bool(usual == value)


def _split(embed: Mapping[str, Any], base: Signature) -> tuple[dict[str, Any], Signature]:
    """Split the steps that follow a call: pack Celery's own, and put Go's into the signature's fields."""
    kept: dict[str, Any] = {}
    follow: dict[str, tuple[Signature, ...]] = {}
    for name in ("callbacks", "errbacks"):
        steps = embed.get(name) or ()
        follow[name] = tuple(raw_of(step) for step in steps if is_raw(step))
        if own := [step for step in steps if not is_raw(step)]:
            kept[name] = own
        if name == "callbacks" and follow[name]:
            base = base.evolve(Immutable=any(step["immutable"] for step in steps if is_raw(step)))
    if embed.get("chain"):
        kept["chain"] = embed["chain"]
    chord = embed.get("chord")
    if chord is not None and is_raw(chord):
        base = base.evolve(ChordCallback=raw_of(chord), GroupTaskCount=chord["kwargs"]["count"])
    elif chord is not None:
        kept["chord"] = chord
    return kept, base.evolve(OnSuccess=follow["callbacks"] or None, OnError=follow["errbacks"] or None)


#: The keys of the packed header in its JSON text. Servers hold such texts, so the letters must never change.
_LETTERS: Final = {
    "own_args": "n",
    "headers": "h",
    "untyped_args": "a",
    "kwargs": "k",
    "embed": "e",
    "reply_to": "r",
    "properties": "p",
    "requeued": "d",
    "content": "c",
    "takes_no_results": "i",
    "from_go": "g",
}


class _PackedHeader(msgspec.Struct, frozen=True, rename=_LETTERS):
    """The part of a call that only Celery knows: the content of ``Headers["celery"]``.

    Attributes:
        own_args: how many of the signature's Args are the call's own; Go appends results to them.
        headers: the headers of protocol 2 that differ from their usual values.
        untyped_args: all arguments, if Go has no type for one of them; None: they are in Args.
        kwargs: keyword arguments.
        embed: callbacks, errbacks, chain and chord in Celery's own form.
        reply_to: ``""`` for none.
        properties: other properties of the message that the caller chose.
        requeued: 1: a worker had received the message and returned it to its queue.
        content: the format of the sender's content.
        takes_no_results: 1: the task ignores the results that Go appends (Celery's ``immutable``).
        from_go: 1: a Go program made the call.
    """

    own_args: int = 0
    headers: dict[str, Any] = {}
    untyped_args: list[Any] | None = None
    kwargs: dict[str, Any] = {}
    embed: dict[str, Any] = {}
    reply_to: str = ""
    properties: dict[str, Any] = {}
    requeued: int = 0
    content: Literal["json", "msgpack"] = "json"
    takes_no_results: int = 0
    from_go: int = 0


def from_wire(sig: Signature) -> TaskMessage:
    """Convert a Signature, from Go or from Celery, to a call in the terms of Celery's protocol.

    The call has no ETA, since a broker delivers a message only when it is due.

    Raises:
        RemoteProtocolError: an argument is not of its type, or the packed header is damaged.
    """
    try:
        args = [in_json(value) for value in wire.load_args(sig)]
    except RemoteProtocolError as exc:
        raise ArgumentUnreadable(f"Reflect task args error: {exc}") from exc  # Go's words
    usual = usual_headers()
    outside: dict[str, Any] = {}
    packed: _PackedHeader | None = None
    for name, raw in (sig.Headers or {}).items():
        if name == CELERY_HEADER:
            packed = _unpack(raw)
        elif name not in (ORIGIN_HEADER, EXPIRES_HEADER) and name not in DEFAULT_HEADERS:
            outside[name] = json.loads(bytes(raw))
    if packed is None:
        packed = _PackedHeader(own_args=len(args), from_go=1)
        outside |= {"argsrepr": _shown(args), "kwargsrepr": "{}", "lang": "go"}
        del usual["ignore_result"]  # the caller did not set it, so the task's own setting counts
    own = args[: packed.own_args] if packed.untyped_args is None else packed.untyped_args
    appended = args[packed.own_args :]
    expires = expiry_ns(sig)
    if expires is not None:  # a Celery app's own text of it, in the packed header, replaces this one
        usual["expires"] = datetime.fromtimestamp(expires // 1000 / 1e6, timezone.utc).isoformat()
    headers = usual | {"root_id": sig.UUID} | outside | packed.headers
    headers |= {"task": sig.Name, "id": sig.UUID, "eta": None}
    if packed.from_go:
        if sig.ChordCallback is not None:
            headers["group"] = sig.GroupUUID
        types = tuple(Arg(Type=arg.Type) for arg in sig.Args or ())
        bare = sig.evolve(Args=types, ETA=None, OnSuccess=None, OnError=None, ChordCallback=None)
        if sig.Headers is not None:
            bare = bare.evolve(Headers={k: v for k, v in sig.Headers.items() if k != CELERY_HEADER})
        headers[ORIGIN_HEADER] = encode(bare).decode()
    return TaskMessage(
        headers=headers,
        args=own if packed.takes_no_results else [*appended, *own],
        kwargs=packed.kwargs,
        embed=_joined(packed.embed, sig),
        priority=sig.Priority,
        reply_to=packed.reply_to,
        properties=packed.properties,
        content=packed.content,
        requeued=bool(packed.requeued),
    )


def _packed(header: _PackedHeader) -> msgspec.Raw:
    """The text of a packed header, without the fields that have their usual values."""
    usual = {**msgspec.structs.asdict(_PackedHeader()), "own_args": None, "headers": None}
    fields = msgspec.structs.asdict(header).items()
    lettered = {_LETTERS[name]: value for name, value in fields if value != usual[name]}
    return wire.dump("string", json.dumps(lettered, separators=(",", ":")))


def _unpack(raw: msgspec.Raw) -> _PackedHeader:
    try:
        packed = msgspec.convert(json.loads(wire.load("string", raw)), _PackedHeader)
    except (ProtocolError, ValueError, msgspec.MsgspecError, RecursionError) as exc:
        raise RemoteProtocolError(f"Headers[{CELERY_HEADER!r}]: {exc}") from exc
    if packed.own_args < 0:
        raise RemoteProtocolError(f"Headers[{CELERY_HEADER!r}]: n is {packed.own_args}, expected 0 or more")
    return packed


def _joined(kept: Mapping[str, Any], sig: Signature) -> dict[str, Any]:
    embed: dict[str, Any] = {name: kept.get(name) for name in EMBED_KEYS}
    for name, steps in (("callbacks", sig.OnSuccess), ("errbacks", sig.OnError)):
        raw = [raw_step(step, immutable=sig.Immutable) for step in steps or () if step is not None]
        if raw:
            embed[name] = [*(embed[name] or ()), *raw]
    if sig.ChordCallback is not None and sig.GroupUUID:
        embed["chord"] = raw_step(
            sig.ChordCallback, immutable=sig.ChordCallback.Immutable, count=sig.GroupTaskCount
        )
    return embed


def _shown(args: Sequence[Any]) -> str:
    text = repr(tuple(map(from_json, args)))
    return text if len(text) <= 1024 else text[:1021] + "..."
