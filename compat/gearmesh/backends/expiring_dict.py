"""A dict whose entries expire, each at its own time."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["ExpiringDict"]

V = TypeVar("V")


class ExpiringDict(Generic[V]):
    """Keeps each entry for a number of seconds. Expired entries are not found, and each :meth:`put` drops them.

    It takes no lock.
    """

    def __init__(self) -> None:
        #: key -> value, and when it expires
        self._entries: dict[str, tuple[V, float]] = {}
        #: heap of (a moment at or before the key's expiry, key); each key is there at least once
        self._due: list[tuple[float, str]] = []

    def get(self, key: str) -> V | None:
        """Return a value; None if it does not exist or has expired."""
        entry = self._entries.get(key)
        return entry[0] if entry is not None and entry[1] > time.monotonic() else None

    def left(self, key: str) -> float:
        """Return for how many seconds the key's value lives; 0 if there is none."""
        return max(0.0, self._entries.get(key, (None, 0.0))[1] - time.monotonic())

    def put(self, key: str, value: V, seconds: float) -> None:
        """Keep a value for ``seconds``, in place of the key's old one."""
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, due = heapq.heappop(self._due)
            if due in self._entries:
                if (until := self._entries[due][1]) > now:
                    heapq.heappush(self._due, (until, due))
                else:
                    del self._entries[due]
        if key not in self._entries:
            heapq.heappush(self._due, (now + seconds, key))
        self._entries[key] = (value, now + seconds)

    def setdefault(self, key: str, value: V, seconds: float) -> V:
        """Return the key's value, or keep and return ``value`` if it has none."""
        found = self.get(key)
        if found is None:
            self.put(key, value, seconds)
            return value
        return found

    def touch(self, key: str, seconds: float) -> None:
        """Let the key's value live for ``seconds`` from now; do nothing if it has none."""
        value = self.get(key)
        if value is not None:
            self.put(key, value, seconds)

    def pop(self, key: str) -> None:
        """Drop an entry; do nothing if there is none."""
        self._entries.pop(key, None)

    def __iter__(self) -> Iterator[str]:
        """Give the keys that have values, the oldest first."""
        return (key for key in self._entries if self.left(key))
