"""A cache with a bound on the number of its entries, and with optional bounds on their bytes and their age."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["BoundedDict"]

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(Generic[K, V]):
    """A dict that drops its least recently used entries. Safe in threads, not across a fork (it holds a lock).

    Args:
        max_entries: the largest number of entries; 0 keeps none.
        max_bytes: the largest sum of the sizes given to :meth:`put`, except that one entry of any size is kept;
            None: no bound.
        ttl_s: seconds from its :meth:`put` after which an entry is not found any more; None: no bound.
    """

    def __init__(self, max_entries: int, *, max_bytes: int | None = None, ttl_s: float | None = None) -> None:
        self._max_entries = max_entries
        self._max_bytes = float("inf") if max_bytes is None else max_bytes
        self._ttl_s = ttl_s
        self._lock = threading.Lock()
        #: key -> value, monotonic time at which it expires (0 without a ttl), size in bytes; the least recently used
        #: is first
        self._entries: OrderedDict[K, tuple[V, float, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: K) -> V | None:
        """Return a value, which counts as its use; None: it is not kept, or has expired."""
        with self._lock:
            return self._get(key)

    def put(self, key: K, value: V, size: int = 0) -> None:
        """Keep a value of ``size`` bytes in place of the key's old one."""
        with self._lock:
            self._put(key, value, size)

    def setdefault(self, key: K, value: V) -> V:
        """Return the key's value, or keep and return ``value`` if it has none."""
        with self._lock:
            found = self._get(key)
            if found is None:
                self._put(key, value, 0)
            return value if found is None else found

    def pop(self, key: K) -> V | None:
        """Drop an entry and return its value; None: it is not kept."""
        with self._lock:
            return self._drop(key)

    # --- inside, with the lock held

    def _get(self, key: K) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if self._ttl_s is not None and entry[1] <= time.monotonic():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def _put(self, key: K, value: V, size: int) -> None:
        self._drop(key)
        expires_at = 0.0 if self._ttl_s is None else time.monotonic() + self._ttl_s
        self._entries[key] = (value, expires_at, size)
        self._bytes += size
        while len(self._entries) > self._max_entries or (
            self._bytes > self._max_bytes and len(self._entries) > 1
        ):
            self._drop(next(iter(self._entries)))

    def _drop(self, key: K) -> V | None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        self._bytes -= entry[2]
        return entry[0]
