"""States that were read, for when they can't be read again."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Final

from gearmesh.wire.state import TaskState

__all__ = ["StateCache"]

#: The largest number of cached states, and of bytes of their messages.
MAX_CACHED_STATES, MAX_CACHED_BYTES = 10_000, 32 << 20
#: Bytes of a cached state beyond its message.
_STATE_OVERHEAD_BYTES: Final = 400


class StateCache:
    """The last known states of tasks, for ``expire`` seconds from when they were read. Safe in threads."""

    def __init__(self, expire: float) -> None:
        self._expire = expire
        self._lock = threading.Lock()
        self._states: OrderedDict[str, tuple[TaskState, float, int]] = OrderedDict()
        self._bytes = 0

    def get(self, uuid: str) -> TaskState | None:
        """The state that was read last; None: there is none, or it was too long ago."""
        with self._lock:
            state, until, _ = self._states.get(uuid, (None, 0.0, 0))
            if state is not None and until <= time.monotonic():
                self._drop(uuid)
                return None
            return state

    def put(self, uuid: str, state: TaskState, size: int) -> None:
        """Keep a state whose message has ``size`` bytes; the oldest go when there are too many."""
        with self._lock:
            self._drop(uuid)
            self._states[uuid] = (state, time.monotonic() + self._expire, size + _STATE_OVERHEAD_BYTES)
            self._bytes += size + _STATE_OVERHEAD_BYTES
            while len(self._states) > MAX_CACHED_STATES or (
                self._bytes > MAX_CACHED_BYTES and len(self._states) > 1
            ):
                self._drop(next(iter(self._states)))

    def forget(self, uuid: str) -> None:
        """Forget it: it was written anew, or purged."""
        with self._lock:
            self._drop(uuid)

    def _drop(self, uuid: str) -> None:
        found = self._states.pop(uuid, None)
        if found is not None:
            self._bytes -= found[2]
