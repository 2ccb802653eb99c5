"""Makes keys that memcached accepts."""

from __future__ import annotations

import hashlib
import re

from gearmesh.errors import Unstorable

__all__ = ["key_of", "side_key"]

#: The largest number of bytes of a key.
MAX_KEY_BYTES = 250
_ILLEGAL = re.compile(rb"[\x00-\x20\x7f]")


def _legal(key: bytes) -> bool:
    return 0 < len(key) <= MAX_KEY_BYTES and _ILLEGAL.search(key) is None


def key_of(uuid: str) -> bytes:
    """The key of a task's state or a group's meta: its UUID.

    Raises:
        Unstorable: memcached accepts no such key. (Go's client refuses it, too.)
    """
    key = uuid.encode(errors="replace")
    if not _legal(key):
        raise Unstorable(
            uuid,
            f"UUID is {uuid!r:.80}, memcached takes 1 to {MAX_KEY_BYTES} bytes without spaces and control characters",
        )
    return key


def side_key(name: str) -> bytes:
    """The key for a name that only gearmesh uses: the name, or its SHA-1 if memcached would not accept the name."""
    key = name.encode(errors="replace")
    return (
        key if _legal(key) else b"gearmesh:" + hashlib.sha1(key, usedforsecurity=False).hexdigest().encode()
    )
