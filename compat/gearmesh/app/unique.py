"""``unique_for``: the same call is not queued twice within some seconds."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from gearmesh.errors import RemoteProtocolError, TaskError
from gearmesh.interfaces.backend import Backend, SupportsClaims
from gearmesh.wire.codec import decode
from gearmesh.wire.names import unique_claim
from gearmesh.wire.signature import Signature

__all__ = ["release_claims", "send_once"]

#: Seconds for which a claim's holder may be without a state: between claiming and storing its PENDING.
MAX_STATELESS_CLAIM_S: Final = 0.2
#: Seconds between two reads of the holder's state.
CLAIM_POLL_INTERVAL_S: Final = 0.02

_encode = msgspec.json.Encoder().encode


def send_once(
    sig: Signature,
    seconds: float,
    backend: Backend,
    store_pending: Callable[[], None],
    send: Callable[[], None],
) -> str:
    """Send a call, unless one with the same name and arguments is queued; return the UUID of the queued call.

    A call counts as queued while its claim lasts and its state is stored. A call that was forgotten, or whose state has
    expired, no longer counts: no caller could wait for it. So the holder of a claim stores its PENDING before it sends,
    and then makes sure that no other caller has taken its claim over meanwhile: two callers never both send.

    The claim is given up if sending fails. A process that dies before it has sent keeps others from sending until the
    claim ends, or the state expires.

    Args:
        sig: the call.
        seconds: how long the claim lasts.
        backend: keeps the claims.
        store_pending: stores the call's PENDING state.
        send: sends the call.

    Raises:
        TaskError: the backend can't keep claims.
        Exception: the errors of ``store_pending`` and ``send``, and the backend's ``connection_errors``.
    """
    if not isinstance(backend, SupportsClaims):
        raise TaskError(
            f"task {sig.Name!r}: unique_for needs a result backend that keeps claims (redis, memcache, mongodb, memory)"
        )
    key = _key(sig)
    stateless, since = "", 0.0
    while True:
        holder = backend.claim(key, sig.UUID, seconds)
        if holder == sig.UUID:
            try:
                store_pending()
                if backend.claim(key, sig.UUID, seconds) == sig.UUID:
                    send()
                    return holder
            except BaseException:
                backend.release([(key, sig.UUID)])
                raise
            backend.purge([sig.UUID])
            continue
        if backend.read([holder])[0] is not None:
            return holder
        now = time.monotonic()
        if holder != stateless:
            stateless, since = holder, now
        if now - since >= MAX_STATELESS_CLAIM_S:
            backend.release([(key, holder)])
        else:
            time.sleep(CLAIM_POLL_INTERVAL_S)


def release_claims(backend: Backend, bodies: Sequence[bytes]) -> None:
    """Give up the claims of messages that were deleted, so that the same calls can be queued again.

    Raises the backend's ``connection_errors``.
    """
    if not isinstance(backend, SupportsClaims):
        return
    claims = []
    for body in bodies:
        try:
            sig = decode(body)
        except RemoteProtocolError:
            continue
        if sig.UUID:
            claims.append((_key(sig), sig.UUID))
    if claims:
        backend.release(claims)


def _key(sig: Signature) -> str:
    return unique_claim(sig.Name, hashlib.sha1(_encode(sig.Args), usedforsecurity=False).hexdigest())
