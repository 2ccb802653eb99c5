"""The time after which a worker does not start a task any more. A header of the message carries it."""

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
    """Return the unix nanoseconds at which the signature expires; None if it never does or its header is unreadable."""
    raw = (sig.Headers or {}).get(EXPIRES_HEADER)
    if raw is None:
        return None
    try:
        return gotime.parse(load("string", raw))
    except (ProtocolError, ValueError):
        return None


def expired(sig: Signature, now_ns: int) -> bool:
    """Return True if workers must not start the task any more."""
    at = expiry_ns(sig)
    return at is not None and now_ns >= at
