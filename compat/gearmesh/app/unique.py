"""``unique_for``: the same call is not queued twice within some seconds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from gearmesh.backends.base import Backend, Claiming
from gearmesh.errors import TaskError
from gearmesh.wire.names import unique_claim
from gearmesh.wire.signature import Signature

__all__ = ["send_once"]

_encode = msgspec.json.Encoder().encode


def send_once(sig: Signature, seconds: float, backend: Backend, send: Callable[[], None]) -> str:
    """Send, unless the same name and arguments were sent within ``seconds``; the UUID of the call that is queued.

    The claim is taken before the message is sent and given up if sending fails: two callers never both send, and a
    process that dies in between keeps others from sending until the claim ends.

    Raises:
        TaskError: the backend can't keep claims.
        Exception: what ``send`` raises.
    """
    if not isinstance(backend, Claiming):
        raise TaskError(
            f"task {sig.Name!r}: unique_for needs a result backend that keeps claims (redis, memcache, mongodb, memory)"
        )
    key = unique_claim(sig.Name, hashlib.sha1(_encode(sig.Args), usedforsecurity=False).hexdigest())
    holder = backend.claim(key, sig.UUID, seconds)
    if holder == sig.UUID:
        try:
            send()
        except BaseException:
            backend.release(key, sig.UUID)
            raise
    return holder
