"""The lock of schedulers inside this process: ``memory://NAME`` and ``eager``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from gearmesh.interfaces.lock import Claim
from gearmesh.shared import SharedByName

__all__ = ["MemoryLock"]


class _Store:
    """Keeps all that the locks of one name share."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.lock = threading.Lock()
        #: key -> moment until which no other scheduler fires (unix ns), and the monotonic seconds at which this expires
        self.held: dict[str, tuple[int, float]] = {}
        #: key -> when the last firing was due (unix ns), its holder, and the monotonic seconds at which that expires
        self.fired: dict[str, tuple[int, str, float]] = {}

    def sweep(self, now: float) -> None:
        """Drop expired entries."""
        self.held = {key: held for key, held in self.held.items() if held[1] > now}
        self.fired = {key: fired for key, fired in self.fired.items() if fired[2] > now}


_STORES: Final = SharedByName(_Store)


class MemoryLock:
    """A lock in this process; all locks of one name exclude each other. See :class:`~gearmesh.interfaces.lock.Lock`.

    Args:
        name: the name to share under; None: this lock is not shared.
        clock: returns seconds that never go back.
    """

    connection_errors: tuple[type[BaseException], ...] = ()

    def __init__(self, name: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.keeps = name is not None
        self._store = _Store() if name is None else _STORES.get(name)
        self._clock = clock

    def take(self, claim: Claim) -> bool:
        store, now = self._store, self._clock()
        with store.lock:
            store.sweep(now)
            due, holder, _ = store.fired.get(claim.key, (None, "", 0.0))
            if (due, holder) == (claim.due_ns, claim.holder):
                return True
            if claim.late:
                if due is not None and due >= claim.due_ns:
                    return False
            else:
                if claim.key in store.held and store.held[claim.key][0] >= claim.due_ns:
                    return False
                store.held[claim.key] = (int(claim.value), now + claim.lasts_ms / 1000)
            store.fired[claim.key] = (claim.due_ns, claim.holder, now + claim.keep_ms / 1000)
            return True

    def fired(self, key: str) -> int | None:
        with self._store.lock:
            self._store.sweep(self._clock())
            found = self._store.fired.get(key)
            return None if found is None else found[0]

    def begin(self, key: str, at_ns: int, keep: float) -> int:
        store, now = self._store, self._clock()
        with store.lock:
            store.sweep(now)
            return store.fired.setdefault(key, (at_ns, "", now + keep))[0]

    def close(self) -> None:
        """Do nothing: no connection is open."""
