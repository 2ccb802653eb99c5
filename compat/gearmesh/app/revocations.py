"""Tells workers within moments which tasks are revoked, at no cost while no task is revoked.

A backend with revocations keeps an index of revoked UUIDs and announces each. A worker subscribes before it runs its
first task, and reads the index then and after each lost connection. Otherwise it looks only into its own memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from gearmesh.errors import BackendError, TaskError
from gearmesh.interfaces.backend import Backend, SupportsRevocation

__all__ = ["DEFAULT_REVOCATION_TTL_S", "REVOKED_ERROR", "Revocations"]

log = logging.getLogger("gearmesh.revocations")

#: Seconds for which workers remember a revocation by default: a week.
DEFAULT_REVOCATION_TTL_S = 7 * 86400.0
#: The Error of a revoked task's FAILURE.
REVOKED_ERROR = "revoked"
#: The first sweep for expired revocations comes once this many are known.
MIN_SWEEP_SIZE = 1000

#: A function that gets the UUIDs of tasks that this process has just learned to be revoked.
Told = Callable[[set[str]], object]


class Revocations:
    """Keeps the UUIDs of revoked tasks in memory, as the backend announces them. Make one for each process (see
    :class:`~gearmesh.process_local.ProcessLocal`).

    Attributes:
        active: False while :meth:`revoked` would find no revoked task, so that a worker can save the call.
    """

    def __init__(self, backend: Backend, clock: Callable[[], float] = time.monotonic) -> None:
        self._backend = backend
        self._clock = clock
        self._lock = threading.Lock()
        #: UUID -> clock time at which the revocation ends
        self._known: dict[str, float] = {}
        self._listeners: tuple[Told, ...] = ()
        self._unwatch: Callable[[], None] | None = None
        self._look_at = MIN_SWEEP_SIZE
        #: True: the index was read; from then on, announcements are enough
        self._loaded = False
        self.active = isinstance(backend, SupportsRevocation)

    def revoke(self, uuids: Sequence[str], lasts: float | timedelta = DEFAULT_REVOCATION_TTL_S) -> None:
        """Revoke tasks, see :meth:`gearmesh.App.revoke`. Raises the backend's connection errors.

        Raises:
            TaskError: ``uuids`` or ``lasts`` is wrong.
            BackendError: the backend can't keep revocations.
        """
        seconds = lasts.total_seconds() if isinstance(lasts, timedelta) else lasts
        if not 0 < seconds <= 1e9:  # NaN fails too
            raise TaskError(f"revoke: lasts is {lasts!r}, expected seconds above 0, or a timedelta")
        if isinstance(uuids, str) or not all(isinstance(uuid, str) and uuid for uuid in uuids):
            raise TaskError(f"revoke: {uuids!r:.80}, expected UUIDs of tasks")
        if not isinstance(self._backend, SupportsRevocation):
            raise BackendError("tasks can't be revoked: this result backend keeps no revocations")
        if uuids:
            self._backend.revoke(uuids, seconds)
        if self._loaded:  # this process need not wait for its own announcement
            self._learn(dict.fromkeys(uuids, seconds))

    def revoked(self, uuids: Iterable[str]) -> set[str]:
        """Return those of ``uuids`` that this process knows to be revoked.

        The first call reads the index; later calls send no requests. If the backend is unreachable at the first call,
        this process learns of all revoked tasks as soon as the backend is back.
        """
        if not self._loaded:
            self._load()
        known = self._known
        if not known:
            return set()
        now = self._clock()
        return {uuid for uuid in uuids if known.get(uuid, 0.0) > now}

    def watch(self, told: Told) -> Callable[[], None]:
        """Call ``told`` with UUIDs as they become revoked, from another thread.

        It does not get UUIDs that were known before: :meth:`revoked` returns these. Returns a function that ends the
        watch. The last watch also ends the subscription, until the next call of :meth:`revoked` or ``watch``.
        """
        with self._lock:
            self._listeners += (told,)
        self._load()

        def stop() -> None:
            with self._lock:
                self._listeners = tuple(each for each in self._listeners if each is not told)
                last = not self._listeners
            if last:
                self.close()

        return stop

    def close(self) -> None:
        """End the subscription. The next call of :meth:`revoked` or :meth:`watch` begins a new one."""
        with self._lock:
            unwatch, self._unwatch = self._unwatch, None
            self._loaded = False
            self._known = {}
            self.active = isinstance(self._backend, SupportsRevocation)
        if unwatch is not None:
            unwatch()

    def _load(self) -> None:
        """Subscribe, and then read the index, so that no revocation is lost in between."""
        backend = self._backend
        if not isinstance(backend, SupportsRevocation):
            return
        with self._lock:
            if self._loaded:
                return
            self._unwatch = backend.watch_revoked(self._learn)
            index: dict[str, float] = {}
            trouble: tuple[type[BaseException], ...] = (*backend.connection_errors, BackendError)
            try:
                index = backend.revoked()
            except trouble as exc:
                log.warning(
                    "the revoked tasks could not be read; they are read as soon as the result backend is reachable: %s",
                    exc,
                )
            self._loaded = True
            self._put(index)

    def _learn(self, revoked: dict[str, float]) -> None:
        with self._lock:
            if not self._loaded:
                return  # closed meanwhile
            fresh = {uuid for uuid in revoked if uuid not in self._known}
            self._put(revoked)
            listeners = self._listeners
        if fresh:
            for told in listeners:
                try:
                    told(fresh)
                except Exception:
                    log.exception("%r raised when it was called with revoked tasks", told)

    def _put(self, revoked: dict[str, float]) -> None:
        """Remember revocations, and now and then forget those that have ended. Readers take no lock."""
        now = self._clock()
        known = self._known
        for uuid, seconds in revoked.items():
            known[uuid] = max(known.get(uuid, 0.0), now + seconds)
        if len(known) > self._look_at:
            self._known = known = {uuid: until for uuid, until in known.items() if until > now}
            self._look_at = max(MIN_SWEEP_SIZE, 2 * len(known))
        self.active = bool(known) or not self._loaded
