"""Bytes to structs and back, byte for byte as Go's encoding/json does it.

Go or gearmesh wrote nearly every document, in the one form that Go writes. msgspec reads this form
correctly. To recognize it, the codec encodes the value that msgspec has read, and compares the
bytes. Equal bytes mean that no key was repeated, unknown, missing, or in another letter case, that
there were no spaces, odd escapes or trailing data, and that every number and string of the struct's
own fields was in its one form. The codec then checks the parts that msgspec leaves alone
(:class:`msgspec.Raw`) and the times. :mod:`gearmesh.wire.gojson.decode`, which is slow and exact,
reads all other documents.

msgspec recurses in C, so it gets no document that is nested deeper than
:data:`gearmesh.wire.gojson.depth.MAX_MSGSPEC_DEPTH`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from gearmesh.errors import LocalProtocolError, RemoteProtocolError
from gearmesh.wire import gotime
from gearmesh.wire.deep import decode_chain, encode_deep
from gearmesh.wire.gojson import decode as slow
from gearmesh.wire.gojson.canonical import canonical
from gearmesh.wire.gojson.depth import MAX_MSGSPEC_DEPTH, shallow
from gearmesh.wire.gojson.write import escape_html, unicode
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = [
    "decode",
    "decode_group",
    "decode_state",
    "decode_states",
    "encode",
    "encode_group",
    "encode_state",
]

#: The beginning of the text of each state that Go or gearmesh has stored.
_STATE_BEGINS = b'{"TaskUUID":"'
#: Bytes of states that are read together. Each result keeps the text from which it was read in memory, so one small
#: result would keep a large joined text.
MAX_TOGETHER_BYTES = 128 * 1024
#: The brackets of a signature with Args and Headers, before those of each argument.
_ORDINARY_SHAPE = b"{[{"

T = TypeVar("T")

_encode = msgspec.json.Encoder(order="deterministic").encode  # map keys sorted, as Go's
_read_signature = msgspec.json.Decoder(Signature).decode
_read_state = msgspec.json.Decoder(TaskState).decode
_read_states = msgspec.json.Decoder(list[TaskState]).decode
_read_group = msgspec.json.Decoder(GroupMeta).decode

#: Bytes that need no check. The others are backslashes, characters that Go escapes, opening brackets, and non-ASCII.
_ORDINARY = bytes(byte for byte in range(128) if byte not in b"\\<>&[{")
#: The same without closing brackets.
_PLAIN = bytes(byte for byte in _ORDINARY if byte not in b"]}")


def decode(data: bytes) -> Signature:
    """Decode a message into a Signature.

    Like Go, it ignores all bytes behind the first JSON value. Raises RemoteProtocolError where Go's
    decoder returns an error, and for an ETA that Go could not write again.
    """
    odd = data.translate(None, _ORDINARY)
    sig = _read(_read_signature, data, odd)
    if sig is not None:
        # _all_scalars would say the same of nearly every message, more slowly.
        shape = _ordinary_shape(sig)
        if shape and sig.ChordCallback is not None:
            shape += _ordinary_shape(sig.ChordCallback)
        if odd == shape:
            return sig
        if _all_scalars(sig, odd) or all(_is_proper(one) for _, one in sig.walk()):
            return sig
    if len(odd) > MAX_MSGSPEC_DEPTH and data[:8] == b'{"UUID":':
        sig = decode_chain(data, decode)
        if sig is not None and encode(sig) == data:
            return sig
    return slow.decode_signature(data)


def decode_state(data: bytes) -> TaskState:
    """Decode a stored TaskState. Raises RemoteProtocolError as :func:`decode` does, and for a null result."""
    odd = data.translate(None, _ORDINARY)
    state = _read(_read_state, data, odd)
    if (
        state is not None
        and gotime.is_canonical(state.CreatedAt)
        and (
            odd == (b"{" if state.Results is None else b"{[" + b"{" * len(state.Results))
            or all(_is_canonical(result.Value) for result in state.Results or ())
        )
    ):
        return state
    return slow.decode_state(data)


def decode_states(datas: Sequence[bytes]) -> list[TaskState]:
    """Decode stored TaskStates as :func:`decode_state` does; it takes half the time for many short ones."""
    states = _read_together(datas) if sum(map(len, datas)) <= MAX_TOGETHER_BYTES else None
    return [decode_state(each) for each in datas] if states is None else states


def _read_together(datas: Sequence[bytes]) -> list[TaskState] | None:
    """Read the texts as one list, if :func:`decode_state` provably reads the same; else return None.

    Without an escape, each ``"`` begins or ends a string. A text that begins as a state does is then one whole state,
    and not a part of its neighbours.
    """
    text = b",".join(datas)
    brackets = text.translate(None, _PLAIN)
    # If anything is left, a result holds more than scalars and may be nested deeply: decode_state reads it.
    if brackets.replace(b"{}", b"").replace(b"[]", b"").replace(b"{}", b""):
        return None
    data = b"[%b]" % text
    try:
        states = _read_states(data)
    except (msgspec.MsgspecError, ValueError):
        return None
    count = sum(1 if state.Results is None else 2 + len(state.Results) for state in states)
    if (
        2 * count == len(brackets)
        and len(states) == len(datas)
        and all(each.startswith(_STATE_BEGINS) for each in datas)
        and all(map(gotime.is_canonical, {state.CreatedAt for state in states}))
        and _encode(states) == data
    ):
        return states
    return None


def decode_group(data: bytes) -> GroupMeta:
    """Decode a stored GroupMeta. Raises RemoteProtocolError as :func:`decode` does."""
    meta = _read(_read_group, data, data.translate(None, _ORDINARY))
    if meta is not None and gotime.is_canonical(meta.CreatedAt):
        return meta
    return slow.decode_group(data)


def encode(sig: Signature) -> bytes:
    """Encode a Signature as Go writes it.

    Raises LocalProtocolError if Go could not read it: a field has a wrong type or is out of range, the
    ETA is not canonical, a text is not Unicode, or it has more than 4,999 steps.
    """
    if sig.OnSuccess or sig.OnError or sig.ChordCallback is not None:
        try:
            for level, one in sig.walk():
                if level >= MAX_MSGSPEC_DEPTH // 2:
                    return encode_deep(sig, encode)
                _require_time("ETA", one.ETA)
        except (AttributeError, TypeError):
            raise LocalProtocolError(f"{sig!r} has a follow-up task that is not a Signature") from None
    elif sig.ETA is not None:
        _require_time("ETA", sig.ETA)
    return _write(sig, _read_signature, slow.decode_signature)


def encode_state(state: TaskState) -> bytes:
    """Encode a TaskState. Raises LocalProtocolError as :func:`encode` does.

    ``Error`` may be the text of any exception, so a lone surrogate in it becomes U+FFFD.
    """
    if state.Error and not state.Error.isascii():
        state = msgspec.structs.replace(state, Error=unicode(state.Error))
    _require_time("CreatedAt", state.CreatedAt)
    return _write(state, _read_state, slow.decode_state)


def encode_group(meta: GroupMeta) -> bytes:
    """Encode a GroupMeta. Raises LocalProtocolError as :func:`encode` does."""
    _require_time("CreatedAt", meta.CreatedAt)
    return _write(meta, _read_group, slow.decode_group)


def _read(read: Callable[[bytes], T], data: bytes, odd: bytes) -> T | None:
    """Read with msgspec, if it provably reads the document as Go does, except for raw parts and times."""
    if len(odd) > MAX_MSGSPEC_DEPTH and not shallow(data):
        return None
    try:
        value = read(data)
        return value if _encode(value) == data else None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _ordinary_shape(sig: Signature) -> bytes:
    """Return the opening brackets of an ordinary signature, without its follow-up tasks; ``b""`` if it is not ordinary.

    An ordinary signature has Args and Headers with scalars in them, and no ETA.
    """
    if sig.ETA is not None or sig.Args is None or sig.Headers is None:
        return b""
    return _ORDINARY_SHAPE + b"{" * len(sig.Args)


def _all_scalars(sig: Signature, odd: bytes) -> bool:
    """Return True if all raw parts are plainly canonical scalars, and the times canonical.

    A scalar that msgspec accepts is canonical unless it has an escape, a character that Go escapes, or
    a non-ASCII one. ``odd`` has all bytes of these kinds, and the opening brackets. So if it has just the
    brackets of the structs, each raw part is a canonical scalar.
    """
    if odd.strip(b"[{"):
        return False
    count = 0
    for _, one in sig.walk() if sig.nested() else ((0, sig),):
        if one.ETA is not None and not gotime.is_canonical(one.ETA):
            return False
        count += 1 + (one.Headers is not None) + (one.OnSuccess is not None) + (one.OnError is not None)
        if one.Args is not None:
            count += 1 + len(one.Args)
    return count == len(odd)


def _is_proper(sig: Signature) -> bool:
    """Return True if all raw parts and the ETA of this one signature are canonical."""
    return (
        (sig.ETA is None or gotime.is_canonical(sig.ETA))
        and all(_is_canonical(arg.Value) for arg in sig.Args or ())
        and all(_is_canonical(value) for value in (sig.Headers or {}).values())
    )


def _is_canonical(raw: msgspec.Raw) -> bool:
    text = bytes(raw)
    try:
        return canonical(text) == text
    except RemoteProtocolError:
        return False


def _require_time(field: str, text: str | None) -> None:
    if text is not None and not (isinstance(text, str) and gotime.is_canonical(text)):
        raise LocalProtocolError(f"{field} is {text!r}, expected a time as Go writes it")


def _write(value: T, read: Callable[[bytes], T], slow_read: Callable[[bytes], T]) -> bytes:
    """Encode a value, then decode it as a receiver will: msgspec checks a struct's types only when it decodes."""
    try:
        data = _encode(value)
        odd = data.translate(None, _ORDINARY)
        if odd.strip(b"[{"):
            data = escape_html(data)
        (read if len(odd) <= MAX_MSGSPEC_DEPTH or shallow(data) else slow_read)(data)
    except (msgspec.MsgspecError, RemoteProtocolError, ValueError, TypeError, OverflowError) as error:
        raise LocalProtocolError(f"{value!r:.300} cannot be sent: {error}") from None
    return data
