"""Makes the texts from which the scripts compose the documents of states."""

from __future__ import annotations

import string
from typing import Any

import msgspec

from gearmesh.errors import LocalProtocolError
from gearmesh.wire.codec import encode_state
from gearmesh.wire.gotime import is_canonical
from gearmesh.wire.state import PENDING, ZERO_TIME, TaskState

__all__ = ["Packed", "pack_state", "pending_rest", "plain_bytes"]

#: A part of the script's payload, as a tuple whose fields have a fixed order (the header of ``commit.lua`` has all):
#:
#: - an entry: as :class:`Entry`, then the publishes to other slots of a cluster; trailing None may be left out;
#: - a state: (UUID, document), or merged with the stored one: (UUID, text before TaskName, state, text between TaskName
#:   and CreatedAt, [a state that it never replaces]);
#: - a publish: (queue, bytes, ETA in unix ns as text or "", [dead-letter key, prefix of dead letters]).
Packed = tuple[Any, ...]


#: Characters that need no escapes in JSON.
_PLAIN = (string.ascii_letters + string.digits + "_:.-").encode()
_encode = msgspec.json.Encoder().encode
#: A merged state gets the stored name and time in place of this.
_NAME = b',"TaskName":""'
_PENDING = (
    b'{"TaskUUID":"%b","TaskName":"%b","State":"PENDING","Results":null,"Error":"","CreatedAt":"%b","TTL":0}'
)
#: The document of a PENDING state from behind the UUID on.
_REST = _PENDING[_PENDING.index(b"%b") + 2 :]
_CREATED = f'"{ZERO_TIME}","TTL":0}}'.encode()


def plain_bytes(text: str) -> bytes:
    """Return the bytes of a text that needs no escapes in JSON; empty for any other text."""
    data = text.encode(errors="surrogatepass")
    return data if not data.translate(None, _PLAIN) else b""


def pack_state(state: TaskState) -> Packed:
    """Pack a state: PENDING as its document, any other as the text around the name and time of the stored state.

    This function runs for every task, so it puts the ordinary state (a UUID without odd characters, no Error) together
    from its parts. It does not check the results again, which :mod:`gearmesh.wire.types` has made.

    Raises:
        LocalProtocolError: a state other than PENDING has a TaskName, CreatedAt or TTL, which Redis would not store.
    """
    word = state.State
    if (
        word != PENDING
        and not (state.Error or state.TaskName or state.TTL)
        and state.CreatedAt == ZERO_TIME
        and (uuid := plain_bytes(state.TaskUUID))
    ):
        head = b'{"TaskUUID":"%b","TaskName":' % uuid
        middle = b',"State":"%b","Results":%b,"Error":"","CreatedAt":' % (
            word.encode(),
            _encode(state.Results),
        )
        return (state.TaskUUID, head, word, middle)
    if (
        word == PENDING
        and state.Results is None
        and not (state.Error or state.TTL)
        and (uuid := plain_bytes(state.TaskUUID))
        and (name := plain_bytes(state.TaskName))
        and is_canonical(state.CreatedAt)
    ):
        body = _PENDING % (uuid, name, state.CreatedAt.encode())
        return (state.TaskUUID, body)
    body = encode_state(state)
    if word == PENDING:
        return (state.TaskUUID, body)
    if state.TaskName or not body.endswith(_CREATED):
        raise LocalProtocolError(
            f"task {state.TaskUUID}: only a PENDING state may have a TaskName, CreatedAt or TTL"
        )
    end = body.index(_NAME) + len(_NAME)
    return (state.TaskUUID, body[: end - 2], word, body[end : -len(_CREATED)])


def pending_rest(state: TaskState) -> bytes:
    """Return a PENDING state's document without its beginning, ``{"TaskUUID":"…``, for ``publish.lua``; or the whole
    document if it is no ordinary one."""
    if (
        state.Results is None
        and not (state.Error or state.TTL)
        and plain_bytes(state.TaskUUID)
        and (name := plain_bytes(state.TaskName))
        and is_canonical(state.CreatedAt)
    ):
        return _REST % (name, state.CreatedAt.encode())
    return encode_state(state)
