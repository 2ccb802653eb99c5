"""One task call: between Celery's message and Machinery's Signature. Pure: nothing here reads a clock or a socket.

What both worlds know goes into the Signature's own fields. What only Celery knows travels as one JSON text in
``Headers["celery"]`` (text, because Go cannot publish nested headers again on AMQP)::

    h  headers of protocol 2 that are not as usual       k  keyword arguments
    a  arguments, where Go has no types for them          e  callbacks, errbacks, chain, chord: Celery's own form
    n  how many of Args are the call's own                i  1: results appended by Go are not for this task
    r  reply_to                                           c  "msgpack", if the sender's content was that
    p  other properties of the message                    g  1: a Go program made the call
    d  1: it was put back by a worker

Go appends results to the arguments, Celery wants them in front: who reads ``n`` can tell them apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final, Literal

import msgspec

from gearmesh.celery.content import DEFAULT_HEADERS, EMBED_KEYS, TaskMessage
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

#: Name in Headers of what only Celery knows.
CELERY_HEADER: Final = "celery"
#: Header of a call that a Go program began: its signature, without what follows it; of the arguments the types.
ORIGIN_HEADER: Final = "gearmesh"


def to_wire(message: TaskMessage, *, queue: str, results: bool = True) -> Signature:
    """The Signature of a call that a Celery worker will run.

    Args:
        queue: its RoutingKey.
        results: False: what Go appends is not for this task (Celery's ``immutable``).

    Raises:
        LocalProtocolError: something in it cannot be written.
    """
    headers = message.headers
    origin = headers.get(ORIGIN_HEADER)
    base = decode(origin.encode()) if isinstance(origin, str) else Signature()
    args = _typed(message.args, base)
    apart: dict[str, Any] = {"n": len(args)}
    if len(args) != len(message.args):
        args, apart = (), {"n": 0, "a": message.args}
    apart["h"] = unusual = _unusual(headers)
    outside = own_headers(headers)
    for name in (*outside, "eta"):
        unusual.pop(name, None)
    kept, base = _split(message.embed, base)
    if kept:
        apart["e"] = kept
    if message.kwargs:
        apart["k"] = message.kwargs
    if message.reply_to:
        apart["r"] = message.reply_to
    if message.properties:
        apart["p"] = message.properties
    if message.again:
        apart["d"] = 1
    if message.content != "json":
        apart["c"] = message.content
    if not results:
        apart["i"] = 1
    if origin is not None:
        apart["g"] = 1
    text = wire.dump("string", json.dumps(apart, separators=(",", ":")))
    group = headers.get("group")
    return base.evolve(
        UUID=message.id,
        Name=message.name,
        RoutingKey=queue,
        ETA=None,
        GroupUUID=group if base.ChordCallback is not None and isinstance(group, str) else "",
        Args=args,
        Headers={**(base.Headers or {}), **outside, CELERY_HEADER: text},
        Priority=message.priority,
    )


def _typed(values: Sequence[Any], base: Signature) -> tuple[Arg, ...]:
    """The arguments that have Go types; those that a Go program began with keep theirs."""
    types = [arg.Type for arg in base.Args or ()]
    if len(types) == len(values):
        try:
            return tuple(wire.arg(of, from_json(value)) for of, value in zip(types, values, strict=True))
        except LocalProtocolError:  # a retry with others
            pass
    return tuple(arg for arg in map(typed, values) if arg is not None)


def own_headers(headers: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    """The caller's own headers that Go can see: those that are text or bool.

    Go: numbers and objects in Headers cannot be published again on AMQP.
    """
    found = {}
    for name, value in headers.items():
        if name in DEFAULT_HEADERS or name in (CELERY_HEADER, ORIGIN_HEADER):
            continue
        kind = {str: "string", bool: "bool"}.get(type(value))
        if kind is not None:
            try:
                found[name] = wire.dump(kind, value)
            except LocalProtocolError:  # no Unicode text: only Celery sees it
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
    """What follows the call: Celery's own form stays apart, what Go began goes where Go looks for it."""
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


class _PackedHeader(msgspec.Struct, frozen=True):
    """What is in ``Headers["celery"]``; see the head of this module."""

    n: int = 0
    h: dict[str, Any] = {}
    a: list[Any] | None = None
    k: dict[str, Any] = {}
    e: dict[str, Any] = {}
    r: str = ""
    p: dict[str, Any] = {}
    d: int = 0
    c: Literal["json", "msgpack"] = "json"
    i: int = 0
    g: int = 0


def from_wire(sig: Signature) -> TaskMessage:
    """The call that a Signature is, whoever made it.

    The ETA is left out: what is delivered is due.

    Raises:
        RemoteProtocolError: an argument is not of its type, or what Celery put apart is damaged.
    """
    try:
        args = [in_json(value) for value in wire.load_args(sig)]
    except RemoteProtocolError as exc:
        raise ArgumentUnreadable(f"Reflect task args error: {exc}") from exc  # Go's words
    outside: dict[str, Any] = {}
    apart: _PackedHeader | None = None
    for name, raw in (sig.Headers or {}).items():
        if name == CELERY_HEADER:
            apart = _read_apart(raw)
        elif name not in (ORIGIN_HEADER, EXPIRES_HEADER) and name not in DEFAULT_HEADERS:
            outside[name] = json.loads(bytes(raw))
    if apart is None:
        apart = _PackedHeader(n=len(args), g=1)
        outside |= {"argsrepr": _shown(args), "kwargsrepr": "{}", "lang": "go"}
        # What the caller did not say, the task says.
        usual = {name: value for name, value in DEFAULT_HEADERS.items() if name != "ignore_result"}
    else:
        usual = dict(DEFAULT_HEADERS)
    own = args[: apart.n] if apart.a is None else apart.a
    appended = args[apart.n :]
    expires = expiry_ns(sig)
    if expires is not None:  # Celery's own wording of it, where it has one, goes over this
        usual["expires"] = datetime.fromtimestamp(expires // 1000 / 1e6, timezone.utc).isoformat()
    headers = {**usual, "timelimit": [None, None], "stamps": {}, "root_id": sig.UUID, **outside, **apart.h}
    headers |= {"task": sig.Name, "id": sig.UUID, "eta": None}
    if apart.g:
        if sig.ChordCallback is not None:
            headers["group"] = sig.GroupUUID
        types = tuple(Arg(Type=arg.Type) for arg in sig.Args or ())
        bare = sig.evolve(Args=types, ETA=None, OnSuccess=None, OnError=None, ChordCallback=None)
        if sig.Headers is not None:
            bare = bare.evolve(Headers={k: v for k, v in sig.Headers.items() if k != CELERY_HEADER})
        headers[ORIGIN_HEADER] = encode(bare).decode()
    return TaskMessage(
        headers=headers,
        args=own if apart.i else [*appended, *own],
        kwargs=apart.k,
        embed=_joined(apart.e, sig),
        priority=sig.Priority,
        reply_to=apart.r,
        properties=apart.p,
        content=apart.c,
        again=bool(apart.d),
    )


def _read_apart(raw: msgspec.Raw) -> _PackedHeader:
    try:
        apart = msgspec.convert(json.loads(wire.load("string", raw)), _PackedHeader)
    except (ProtocolError, ValueError, msgspec.MsgspecError, RecursionError) as exc:
        raise RemoteProtocolError(f"Headers[{CELERY_HEADER!r}]: {exc}") from exc
    if apart.n < 0:
        raise RemoteProtocolError(f"Headers[{CELERY_HEADER!r}]: n is {apart.n}, expected 0 or more")
    return apart


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
