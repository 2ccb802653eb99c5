"""Reads states for all callers that wait in a process: one thread for each app, one read for all that are due."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from gearmesh.backoff import OutageLog, reason_of
from gearmesh.interfaces.backend import Backend, PaidByRead, ReadsWhereItHears
from gearmesh.results.wait_handle import (
    EARLY_POLL_SHARE,
    MAX_POLL_INTERVAL_S,
    MIN_POLL_INTERVAL_S,
    WaitHandle,
    pause_after,
)
from gearmesh.wire.state import TaskState

__all__ = ["ResultPoller"]

log = logging.getLogger("gearmesh.waiting")

#: UUIDs in one backend read.
MAX_UUIDS_PER_READ = 1000
#: The thread that receives an announcement reads up to this many states itself. If there are more, the poller's thread
#: reads them together.
MAX_UUIDS_READ_AT_ONCE = 16
#: Seconds between two reads, at least, while workers announce results: reads cost CPU time with which a worker on the
#: same machine could run the task.
MIN_ANNOUNCED_INTERVAL_S = 0.005
#: The CPU time of a read, as a share of the pause after it, at most, while workers announce results: a read of hundreds
#: of states takes longer than one of a few.
MAX_ANNOUNCED_LOOK_SHARE = 1 / 20
#: Seconds before the first read for a task that was sent just now, while workers announce results: a quick task needs
#: this long. An earlier read finds nothing, and takes the GIL from the thread that receives announcements.
FRESH_LOOK_DELAY_S = 0.002
#: Seconds that the thread outlives its last waiter, so that a loop of get() does not start many threads.
THREAD_LINGER_S = 1.0
#: Seconds that the backend may be unreachable before the poller logs it.
OUTAGE_LOG_DELAY_S = 1.0
#: Seconds between two attempts to watch the backend.
REWATCH_INTERVAL_S = 5.0


class ResultPoller:
    """The thread that asks the backend for the states that callers wait for. Make one for each process (see
    :class:`~gearmesh.process_local.ProcessLocal`).

    Args:
        shown: the backend's URL for log lines, without its password.
    """

    def __init__(
        self, backend: Backend, clock: Callable[[], float] = time.monotonic, *, shown: str = "of the app"
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._reads_at_once = isinstance(backend, ReadsWhereItHears)
        #: True: workers announce results; False after a read has found one without an announcement, as of a Go worker
        self._announced = False
        #: True: an announcement has come since the thread began
        self._hears = False
        #: seconds of CPU time that the last read took
        self._look_s = 0.0
        #: held while handles take states, since two threads may have read the same state
        self._giving = threading.Lock()
        self._min_interval_s = backend.min_poll_interval_s if isinstance(backend, PaidByRead) else 0.0
        self._outage = OutageLog(log, lambda: f"result backend {shown}", clock)
        #: since when the backend is unreachable; None: it is reachable
        self._away_since: float | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._heap: list[tuple[float, int, WaitHandle]] = []
        self._handles: set[WaitHandle] = set()
        #: the handles that wait for a UUID: nearly always one, in a tuple that all UUIDs of this handle share
        self._index: dict[str, tuple[WaitHandle] | set[WaitHandle]] = {}
        self._order = itertools.count()
        self._closed = False

    def add(self, handle: WaitHandle, *, fresh: bool = False) -> None:
        """Read the states of a handle, now and from time to time. Start the thread if there is none.

        Args:
            fresh: the task was sent just now; the first read is a little later if workers announce results.
        """
        with self._changed:
            handle._started = handle._due = handle._regular = self._clock()
            if fresh and self._hears and self._announced:
                handle._due = handle._regular = handle._started + FRESH_LOOK_DELAY_S
            handle._indexed = handle.uuids()
            self._handles.add(handle)
            alone = (handle,)
            for uuid in handle._indexed:
                others = self._index.setdefault(uuid, alone)
                if isinstance(others, set):
                    others.add(handle)
                elif others is not alone:
                    self._index[uuid] = {*others, handle}
            self._schedule(handle, handle._due)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="gearmesh-waiter", daemon=True)
                self._thread.start()

    def remove(self, handle: WaitHandle) -> None:
        """Stop reading states for a handle. Do nothing if it was not added, or was removed before."""
        with self._changed:
            if handle in self._handles:
                self._handles.discard(handle)
                for uuid in handle._indexed:
                    others = self._index[uuid]
                    if isinstance(others, set):
                        others.discard(handle)
                    if not others or isinstance(others, tuple):
                        del self._index[uuid]

    def look(self, handle: WaitHandle) -> None:
        """Read all states of a handle once, in the caller's thread. Set its ``trouble`` for a connection error."""
        self._ask([(handle, handle.uuids())])

    def close(self) -> None:
        """End the thread soon. A later :meth:`add` begins anew."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def running(self) -> bool:
        """True while there is a thread."""
        return self._thread is not None

    def wake(self, succeeded: Sequence[str], failed: Sequence[str], states: Sequence[TaskState]) -> None:
        """Take an announcement that tasks have ended, and read those states that are needed.

        The backend's thread calls this. The state of a task that has succeeded is not needed where only its failure
        would matter. The calling thread reads a few states itself, which saves the time to wake the poller's thread. It
        does not read those that are in ``states``.
        """
        heard: dict[WaitHandle, list[str]] = {}
        with self._changed:
            for uuid in succeeded:
                for handle in self._index.get(uuid, ()):
                    if uuid in handle.wanted:
                        heard.setdefault(handle, []).append(uuid)
                    else:
                        handle.upstream.pop(uuid, None)
                        self._announced = True
            for uuid in failed:
                for handle in self._index.get(uuid, ()):
                    if uuid in handle.wanted or uuid in handle.upstream:
                        heard.setdefault(handle, []).append(uuid)
        if not heard:
            return
        if states:
            self._announced = self._hears = True
            self._give(list(heard.items()), {state.TaskUUID: state for state in states})
        elif self._reads_at_once and sum(map(len, heard.values())) <= MAX_UUIDS_READ_AT_ONCE:
            self._announced = self._hears = True
            self._ask(list(heard.items()))
        with self._changed:
            now = self._clock()
            for handle, some in heard.items():
                if handle.over:
                    self.remove(handle)
                    continue
                missing = [uuid for uuid in some if uuid in handle.wanted or uuid in handle.upstream]
                if missing:
                    handle._hot.update(missing)
                    if handle._due > now:
                        self._schedule(handle, now)

    # --- the thread ----------------------------------------------------------------------------

    def _schedule(self, handle: WaitHandle, due: float) -> None:
        handle._due = due
        heapq.heappush(self._heap, (due, next(self._order), handle))
        if self._heap[0][2] is handle:
            self._changed.notify_all()

    def _run(self) -> None:
        unsubscribe: Callable[[], None] | None = None
        tried: float | None = None
        try:
            while (due := self._next()) is not None:
                if unsubscribe is None and (tried is None or self._clock() - tried > REWATCH_INTERVAL_S):
                    tried = self._clock()
                    unsubscribe = self._subscribe()
                began = time.thread_time()
                if self._ask(due):
                    self._announced = False  # the read found a result before an announcement
                self._look_s = time.thread_time() - began
                self._put_back(handle for handle, _ in due)
        finally:
            with self._changed:  # also after an unforeseen error, so that the next waiter gets a thread
                if self._thread is threading.current_thread():
                    self._thread = None
            if unsubscribe is not None:
                unsubscribe()

    def _next(self) -> list[tuple[WaitHandle, list[str]]] | None:
        """Wait until handles are due, and return them with their UUIDs. None: no caller waits; the thread ends."""
        with self._changed:
            idle_since: float | None = None
            while True:
                now = self._clock()
                if not self._handles:
                    self._heap.clear()
                    idle_since = now if idle_since is None else idle_since
                    left = idle_since + THREAD_LINGER_S - now
                    if left <= 0 or self._closed:
                        self._thread, self._closed, self._hears = None, False, False
                        return None
                    self._changed.wait(left)
                    continue
                idle_since = None
                due: dict[WaitHandle, list[str]] = {}
                while self._heap:
                    when, _, handle = self._heap[0]
                    if when > (now + handle._pause * EARLY_POLL_SHARE if due else now):
                        break
                    heapq.heappop(self._heap)
                    if handle in self._handles and handle._due == when and handle not in due:
                        due[handle] = handle.window(now)
                if due:
                    return list(due.items())
                self._changed.wait(max(self._heap[0][0] - now, 0) if self._heap else None)

    def _put_back(self, handles: Iterable[WaitHandle]) -> None:
        with self._changed:
            now = self._clock()
            for handle in handles:
                if handle.over:
                    self.remove(handle)
                elif handle in self._handles:
                    if handle._asked:
                        handle._pause = self._next_pause(handle, now)
                        handle._regular = now + handle._pause
                    self._schedule(handle, now if handle._hot else handle._regular)

    def _next_pause(self, handle: WaitHandle, now: float) -> float:
        if handle.interval is not None:
            if handle._asked_all or handle.trouble:
                return handle.interval
            return max(MIN_POLL_INTERVAL_S, self._min_interval_s)
        if handle._soon:
            return MIN_POLL_INTERVAL_S
        least = self._min_interval_s
        if self._announced:
            least = max(
                MIN_ANNOUNCED_INTERVAL_S, min(self._look_s / MAX_ANNOUNCED_LOOK_SHARE, MAX_POLL_INTERVAL_S)
            )
        pause = max(pause_after(now - handle._started), least)
        return max(pause, 0.05) if handle.trouble else pause

    def _subscribe(self) -> Callable[[], None] | None:
        try:
            return self._backend.watch(self.wake)
        except Exception:  # announcements are only a shortcut; the poller still reads states
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

    def _ask(self, due: list[tuple[WaitHandle, list[str]]]) -> bool:
        """Read the states of handles, and give them the final ones; return True if any handle got news."""
        uuids = list(dict.fromkeys(itertools.chain.from_iterable(window for _, window in due)))
        states: dict[str, TaskState | None] = {}
        try:
            for start in range(0, len(uuids), MAX_UUIDS_PER_READ):
                part = uuids[start : start + MAX_UUIDS_PER_READ]
                states.update(zip(part, self._backend.read(part), strict=True))
        except self._backend.connection_errors as exc:
            reason = reason_of(exc)
            for handle, _ in due:
                handle.trouble = reason
            self._note_outage(exc)
            return False
        except Exception as exc:
            if len(due) > 1:  # find the handle whose state cannot be read
                each_found = [self._ask([each]) for each in due]
                return any(each_found)
            handle = due[0][0]
            handle.error, handle.over = exc, True
            handle.tell()
            return False
        self._away_since = None
        self._outage.worked()
        return self._give(due, states)

    def _give(
        self, due: Sequence[tuple[WaitHandle, list[str]]], states: Mapping[str, TaskState | None]
    ) -> bool:
        """Give handles the states that were read or announced; return True if any handle got news."""
        found = False
        for handle, window in due:
            handle.trouble = ""
            with self._giving:
                news = handle.take(states.get(uuid) for uuid in window)
            if news:
                found = True
                handle.tell()
        return found
