"""Revoked tasks: every worker knows them within moments, at no cost while no task is revoked.

A backend that can do it keeps an index of revoked UUIDs and announces each; a worker subscribes before it runs its
first task, reads the index then and after each lost connection, and otherwise looks only into its own memory.
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

#: Seconds for which a revocation is remembered where nothing else is said: a week.
DEFAULT_REVOCATION_TTL_S = 7 * 86400.0
#: The Error of a revoked task's FAILURE.
REVOKED_ERROR = "revoked"
#: The first sweep for expired revocations comes once this many are known.
MIN_SWEEP_SIZE = 1000

#: A function that is told of UUIDs which have just become known as revoked.
Told = Callable[[set[str]], object]


class Revocations:
    """Keeps the UUIDs of revoked tasks in memory, as the backend announces them. Make one a process (see
    :class:`~gearmesh.process_local.ProcessLocal`).

    Attributes:
        active: False while :meth:`revoked` could only say no, so that who is in a hurry need not call it.
    """

    def __init__(self, backend: Backend, clock: Callable[[], float] = time.monotonic) -> None:
        self._backend = backend
        self._clock = clock
        self._lock = threading.Lock()
        #: UUID -> clock time at which it is revoked no more
        self._known: dict[str, float] = {}
        self._listeners: tuple[Told, ...] = ()
        self._unwatch: Callable[[], None] | None = None
        self._look_at = MIN_SWEEP_SIZE
        #: the index was read; from then on announcements do
        self._loaded = False
        self.active = isinstance(backend, SupportsRevocation)

    def revoke(self, uuids: Sequence[str], lasts: float | timedelta = DEFAULT_REVOCATION_TTL_S) -> None:
        """Revoke tasks, see :meth:`gearmesh.App.revoke`. Connection errors go through.

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
        if self._loaded:  # who revokes and runs in one process need not wait for the announcement
            self._learn(dict.fromkeys(uuids, seconds))

    def revoked(self, uuids: Iterable[str]) -> set[str]:
        """Those of ``uuids`` that are revoked, as far as this process knows.

        The first call reads the index; after that there are no requests. If the backend is away then, all that are
        revoked are told as soon as it is back.
        """
        if not self._loaded:
            self._load()
        known = self._known
        if not known:
            return set()
        now = self._clock()
        return {uuid for uuid in uuids if known.get(uuid, 0.0) > now}

    def watch(self, told: Told) -> Callable[[], None]:
        """Call ``told`` with UUIDs as they become revoked, from a thread that is not the caller's.

        What was known before is not told: ask :meth:`revoked`. Returns a function that ends it; with the last watch
        the subscription ends, too, until the next question or watch.
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
        """Listen no more. Asking again begins anew."""
        with self._lock:
            unwatch, self._unwatch = self._unwatch, None
            self._loaded = False
            self._known = {}
            self.active = isinstance(self._backend, SupportsRevocation)
        if unwatch is not None:
            unwatch()

    def _load(self) -> None:
        """Subscribe, then read the index: nothing falls between the two."""
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
        """Remember these; forget, now and then, what is over. Who reads takes no lock."""
        now = self._clock()
        known = self._known
        for uuid, seconds in revoked.items():
            known[uuid] = max(known.get(uuid, 0.0), now + seconds)
        if len(known) > self._look_at:
            self._known = known = {uuid: until for uuid, until in known.items() if until > now}
            self._look_at = max(MIN_SWEEP_SIZE, 2 * len(known))
        self.active = bool(known) or not self._loaded
