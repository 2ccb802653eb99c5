"""The time after which a message is not to be started any more, as its headers carry it."""

from __future__ import annotations

from gearmesh.errors import ProtocolError
from gearmesh.wire import gotime
from gearmesh.wire.names import EXPIRES_HEADER
from gearmesh.wire.signature import Signature
from gearmesh.wire.types import load

__all__ = ["EXPIRED_ERROR", "expired", "expiry_ns"]

#: The error of a task that was not started in time.
EXPIRED_ERROR = "expired"


def expiry_ns(sig: Signature) -> int | None:
    """Unix ns at which the signature expires; None: never, or its header cannot be read."""
    raw = (sig.Headers or {}).get(EXPIRES_HEADER)
    if raw is None:
        return None
    try:
        return gotime.parse(load("string", raw))
    except (ProtocolError, ValueError):
        return None


def expired(sig: Signature, now_ns: int) -> bool:
    """True if the signature is not to be started any more."""
    at = expiry_ns(sig)
    return at is not None and now_ns >= at
