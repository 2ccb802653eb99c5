"""Waiting for results: one thread an app and process, one read for all whose time has come."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from gearmesh.backoff import OutageLog, reason_of
from gearmesh.interfaces.backend import Backend
from gearmesh.results.wait_handle import EARLY_POLL_SHARE, MIN_POLL_INTERVAL_S, WaitHandle, pause_after
from gearmesh.wire.state import TaskState

__all__ = ["ResultPoller"]

log = logging.getLogger("gearmesh.waiting")

#: UUIDs in one backend read.
MAX_UUIDS_PER_READ = 1000
#: Seconds that the thread outlives its last waiter, so that a loop of get() does not start many.
THREAD_LINGER_S = 1.0
#: Seconds that the backend may be unreachable before that is logged.
OUTAGE_LOG_DELAY_S = 1.0
#: Seconds between two attempts to watch the backend.
REWATCH_INTERVAL_S = 5.0


class ResultPoller:
    """The thread that asks the backend for the states that callers wait for. Make one a process (see
    :class:`~gearmesh.process_local.ProcessLocal`).

    Args:
        shown: the backend's URL for log lines, without its password.
    """

    def __init__(
        self, backend: Backend, clock: Callable[[], float] = time.monotonic, *, shown: str = "of the app"
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._outage = OutageLog(log, lambda: f"result backend {shown}", clock)
        #: since when the backend is unreachable; None: it is not
        self._away_since: float | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._heap: list[tuple[float, int, WaitHandle]] = []
        self._watches: set[WaitHandle] = set()
        self._index: dict[str, set[WaitHandle]] = {}
        self._order = itertools.count()
        self._closed = False

    def add(self, watch: WaitHandle) -> None:
        """Begin to look; the first look is now. Starts the thread if there is none."""
        with self._changed:
            watch._started = watch._due = watch._regular = self._clock()
            self._watches.add(watch)
            for uuid in watch.uuids():
                self._index.setdefault(uuid, set()).add(watch)
            self._schedule(watch, watch._due)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="gearmesh-waiter", daemon=True)
                self._thread.start()

    def remove(self, watch: WaitHandle) -> None:
        """Stop looking. Fine for one that is not there (any more)."""
        with self._changed:
            if watch not in self._watches:
                return
            self._watches.discard(watch)
            self._clean_up(watch)
            for uuid in watch.uuids():
                self._forget(uuid, watch)

    def look(self, watch: WaitHandle) -> None:
        """One look at all of it, in the caller's thread. Connection errors become its trouble."""
        self._ask([(watch, watch.uuids())])

    def close(self) -> None:
        """End the thread soon. A later :meth:`add` begins anew."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def running(self) -> bool:
        """True while there is a thread."""
        return self._thread is not None

    def wake(self, uuids: Sequence[str]) -> None:
        """These became final: ask for them now. Called from the backend's thread."""
        with self._changed:
            now = self._clock()
            for uuid in uuids:
                for watch in self._index.get(uuid, ()):
                    watch._hot.add(uuid)
                    if watch._due > now:
                        self._schedule(watch, now)

    # --- the thread ----------------------------------------------------------------------------

    def _schedule(self, watch: WaitHandle, due: float) -> None:
        watch._due = due
        heapq.heappush(self._heap, (due, next(self._order), watch))
        if self._heap[0][2] is watch:
            self._changed.notify_all()

    def _forget(self, uuid: str, watch: WaitHandle) -> None:
        watching = self._index.get(uuid)
        if watching is not None:
            watching.discard(watch)
            if not watching:
                del self._index[uuid]

    def _clean_up(self, watch: WaitHandle) -> None:
        for state in watch.found[watch._clean :]:
            self._forget(state.TaskUUID, watch)
        watch._clean = len(watch.found)

    def _run(self) -> None:
        unwatch: Callable[[], None] | None = None
        tried: float | None = None
        try:
            while (due := self._next()) is not None:
                if unwatch is None and (tried is None or self._clock() - tried > REWATCH_INTERVAL_S):
                    tried = self._clock()
                    unwatch = self._watch()
                self._ask(due)
                self._put_back(watch for watch, _ in due)
        finally:
            with self._changed:  # after an unforeseen error too, the next waiter gets a thread
                if self._thread is threading.current_thread():
                    self._thread = None
            if unwatch is not None:
                unwatch()

    def _next(self) -> list[tuple[WaitHandle, list[str]]] | None:
        """Wait for the handles whose time has come. None: no caller waits any more, the thread ends."""
        with self._changed:
            idle_since: float | None = None
            while True:
                now = self._clock()
                if not self._watches:
                    self._heap.clear()
                    idle_since = now if idle_since is None else idle_since
                    left = idle_since + THREAD_LINGER_S - now
                    if left <= 0 or self._closed:
                        self._thread, self._closed = None, False
                        return None
                    self._changed.wait(left)
                    continue
                idle_since = None
                due: dict[WaitHandle, list[str]] = {}
                while self._heap:
                    when, _, watch = self._heap[0]
                    if when > (now + watch._pause * EARLY_POLL_SHARE if due else now):
                        break
                    heapq.heappop(self._heap)
                    if watch in self._watches and watch._due == when and watch not in due:
                        due[watch] = watch.window(now)
                if due:
                    return list(due.items())
                self._changed.wait(max(self._heap[0][0] - now, 0) if self._heap else None)

    def _put_back(self, watches: Iterable[WaitHandle]) -> None:
        with self._changed:
            now = self._clock()
            for watch in watches:
                self._clean_up(watch)
                if watch.over:
                    self._watches.discard(watch)
                    for uuid in watch.uuids():
                        self._forget(uuid, watch)
                elif watch in self._watches:
                    if watch._asked:
                        watch._pause = self._next_pause(watch, now)
                        watch._regular = now + watch._pause
                    self._schedule(watch, now if watch._hot else watch._regular)

    @staticmethod
    def _next_pause(watch: WaitHandle, now: float) -> float:
        if watch.interval is not None:
            return watch.interval
        if watch._soon:
            return MIN_POLL_INTERVAL_S
        pause = pause_after(now - watch._started)
        return max(pause, 0.05) if watch.trouble else pause

    def _watch(self) -> Callable[[], None] | None:
        try:
            return self._backend.watch(self.wake)
        except Exception:  # only a shortcut; asking goes on
            log.debug("the backend cannot be watched now", exc_info=True)
            return None

    def _note_outage(self, exc: BaseException) -> None:
        """Log that the backend is unreachable, once it has been for a second."""
        now = self._clock()
        if self._away_since is None:
            self._away_since = now
        elif now - self._away_since >= OUTAGE_LOG_DELAY_S:
            fate = "get() waits until its timeout, or until the result backend is back"
            self._outage.failed(exc, fate, since=self._away_since)

    def _ask(self, due: list[tuple[WaitHandle, list[str]]]) -> None:
        uuids = list(dict.fromkeys(itertools.chain.from_iterable(window for _, window in due)))
        states: dict[str, TaskState | None] = {}
        try:
            for start in range(0, len(uuids), MAX_UUIDS_PER_READ):
                part = uuids[start : start + MAX_UUIDS_PER_READ]
                states.update(zip(part, self._backend.read(part), strict=True))
        except self._backend.connection_errors as exc:
            reason = reason_of(exc)
            for watch, _ in due:
                watch.trouble = reason
            self._note_outage(exc)
            return
        except Exception as exc:
            if len(due) > 1:  # whose state is it that cannot be read?
                for each in due:
                    self._ask([each])
                return
            watch = due[0][0]
            watch.error, watch.over = exc, True
            watch.tell()
            return
        self._away_since = None
        self._outage.worked()
        for watch, window in due:
            watch.trouble = ""
            if watch.take(states[uuid] for uuid in window):
                watch.tell()
