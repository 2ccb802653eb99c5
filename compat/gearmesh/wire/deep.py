"""Reads and writes signatures that are nested too deep for msgspec, one at a time and without recursion."""

from __future__ import annotations

from collections.abc import Callable

from gearmesh.errors import LocalProtocolError, RemoteProtocolError
from gearmesh.wire.gojson.depth import shallow
from gearmesh.wire.gojson.read import MAX_DEPTH
from gearmesh.wire.gojson.write import separated
from gearmesh.wire.signature import Signature

__all__ = ["decode_chain", "encode_deep"]

_NO_CHILDREN = b',"OnSuccess":null,"OnError":null,"ChordCallback":null,'
_DOWN = b',"OnSuccess":[{"UUID":'
_UP = b'}],"OnError":'

Part = Signature | bytes | None


def decode_chain(data: bytes, decode: Callable[[bytes], Signature]) -> Signature | None:
    """Guess the chain that Go has written as ``data``; None if it does not look like a chain.

    ``data`` has the heads of all steps, outermost first, and then their tails, innermost first. The
    guess may be wrong (a value may hold the same text), so the caller encodes it and compares.
    """
    heads = data.split(_DOWN)
    heads[-1], *tails = heads[-1].split(_UP)
    if len(tails) != len(heads) - 1 or not tails:
        return None
    try:
        chain = decode(b'{"UUID":' + heads.pop() + b"}")
        while heads:
            # The split has cut the beginning off each head but the first, and the end off each tail but the last.
            begin = b'{"UUID":' if len(heads) > 1 else b""
            end = b"}" if len(tails) > 1 else b""
            one = decode(begin + heads.pop() + b',"OnSuccess":null,"OnError":' + tails.pop(0) + end)
            chain = one.evolve(OnSuccess=(chain,))
    except RemoteProtocolError:
        return None
    return chain


def encode_deep(sig: Signature, encode: Callable[[Signature], bytes]) -> bytes:
    """Encode a signature of any depth; LocalProtocolError if it is nested deeper than Go reads."""
    out: list[bytes] = []
    todo: list[Part] = [sig]
    while todo:
        one = todo.pop()
        if one is None:
            out.append(b"null")
        elif isinstance(one, bytes):
            out.append(one)
        else:
            alone = encode(one.evolve(OnSuccess=None, OnError=None, ChordCallback=None))
            # The last place is the right one: only strings follow it, and quotes in strings are escaped.
            head, _, tail = alone.rpartition(_NO_CHILDREN)
            parts: list[Part] = [head, b',"OnSuccess":', *_listed(one.OnSuccess)]
            parts += [b',"OnError":', *_listed(one.OnError)]
            parts += [b',"ChordCallback":', one.ChordCallback, b",", tail]
            todo += reversed(parts)
    data = b"".join(out)
    if not shallow(data, MAX_DEPTH):
        raise LocalProtocolError(f"{sig!r} is nested too deep: Go reads {MAX_DEPTH} levels of JSON")
    return data


def _listed(several: tuple[Signature | None, ...] | None) -> list[Part]:
    return [None] if several is None else [b"[", *separated(several, b","), b"]"]
