"""Waiting for results: one thread an app and process, one read for all whose time has come.

Go never tells anybody that a task is done, so somebody has to ask. The pause between two questions
for the same waiter grows with the time it has waited, elapsed / 50, from 1 ms to 500 ms: no result
is noticed more than 2 % late, and a long wait costs the server two small reads a second.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from gearmesh.backends.base import Backend
from gearmesh.wire.state import TaskState

__all__ = ["Waiter", "Watch", "pause_after"]

log = logging.getLogger("gearmesh.waiting")

SHORTEST, LONGEST, SHARE = 0.001, 0.5, 1 / 50
#: How many UUIDs one waiter adds to a read at most, half of them the first it needs, half in turns.
WINDOW = 500
#: UUIDs in one backend read.
READ = 1000
#: Seconds that the thread outlives its last waiter, so that a loop of get() does not start many.
LINGER = 1.0
#: Seconds between two attempts to watch the backend.
REWATCH = 5.0


def pause_after(elapsed: float) -> float:
    """Seconds until the next look of one who has waited ``elapsed`` seconds."""
    return min(max(elapsed * SHARE, SHORTEST), LONGEST)


class Watch:
    """What one caller waits for, and what was found so far.

    Args:
        wanted: UUIDs that must become final; then it is over.
        upstream: UUIDs without whose success ``wanted`` will never become final.
        fail_fast: the first FAILURE of any ends it.
        interval: seconds between two looks; None: growing.
        notify: called from the service's thread (or the looker's) when there is news.

    Attributes:
        found: final states in the order in which they were found.
        over: nothing more will come. failure: the state that ended it, if one did.
        error: what the backend raised for good. trouble: a connection error that goes on; "" if none.
    """

    __slots__ = (
        "_at", "_clean", "_due", "_hot", "_notify", "_regular", "_soon", "_started",
        "error", "fail_fast", "failure", "found", "interval", "over", "trouble", "upstream", "wanted",
    )  # fmt: skip

    def __init__(
        self,
        wanted: Iterable[str],
        upstream: Iterable[str] = (),
        *,
        fail_fast: bool = True,
        interval: float | None = None,
        notify: Callable[[], None],
    ) -> None:
        self.wanted = dict.fromkeys(wanted)
        self.upstream = {uuid: None for uuid in upstream if uuid not in self.wanted}
        self.fail_fast = fail_fast
        self.interval = interval
        self.found: list[TaskState] = []
        self.over = not self.wanted
        self.failure: TaskState | None = None
        self.error: Exception | None = None
        self.trouble = ""
        self._notify = notify
        self._hot: set[str] = set()  # announced as final
        self._started = self._due = self._regular = 0.0
        self._at = self._clean = 0
        self._soon = False  # there was news, and more than one window to look at

    def uuids(self) -> list[str]:
        """All it still waits for."""
        return [*self.wanted, *self.upstream]

    def window(self, now: float) -> list[str]:
        """What to ask for now: what was announced, and what it is time for.

        Of many, the first that are needed (when they are final the next ones follow at once) and
        some of the others in turn, where a failure may be.
        """
        hot, self._hot = list(self._hot), set()
        if now < self._regular:
            return hot
        everything = self.uuids()
        if len(everything) <= WINDOW:
            return everything
        half = WINDOW // 2
        others = everything[half:]
        start = self._at if self._at < len(others) else 0
        self._at = start + half
        return list(dict.fromkeys(everything[:half] + others[start : start + half] + hot))

    def take(self, states: Iterable[TaskState | None]) -> bool:
        """Look at states that were read; True if there was news."""
        news = False
        for state in states:
            if state is None or not state.final or self.over:
                continue
            uuid = state.TaskUUID
            if uuid in self.wanted:
                del self.wanted[uuid]
            elif uuid in self.upstream:
                del self.upstream[uuid]
            else:
                continue
            news = True
            self.found.append(state)
            if self.fail_fast and not state.success and self.failure is None:
                self.failure = state
        self._soon = news and len(self.wanted) + len(self.upstream) > WINDOW // 2
        if not self.wanted:
            self.over = True
            if self.failure is not None and self.failure.TaskUUID in self.upstream:
                self.failure = None
        elif self.failure is not None:
            self.over = True
        return news

    def tell(self) -> None:
        """Call ``notify``; one that raises is the waiter's trouble, not the others'."""
        try:
            self._notify()
        except Exception:
            log.debug("a waiter is gone", exc_info=True)


class Waiter:
    """The service. Make one a process (see :class:`~gearmesh.app.forks.PerProcess`)."""

    def __init__(self, backend: Backend, clock: Callable[[], float] = time.monotonic) -> None:
        self._backend = backend
        self._clock = clock
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._heap: list[tuple[float, int, Watch]] = []
        self._watches: set[Watch] = set()
        self._index: dict[str, set[Watch]] = {}
        self._order = itertools.count()
        self._closed = False

    def add(self, watch: Watch) -> None:
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

    def remove(self, watch: Watch) -> None:
        """Stop looking. Fine for one that is not there (any more)."""
        with self._changed:
            if watch not in self._watches:
                return
            self._watches.discard(watch)
            self._clean_up(watch)
            for uuid in watch.uuids():
                self._forget(uuid, watch)

    def look(self, watch: Watch) -> None:
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

    def _schedule(self, watch: Watch, due: float) -> None:
        watch._due = due
        heapq.heappush(self._heap, (due, next(self._order), watch))
        if self._heap[0][2] is watch:
            self._changed.notify_all()

    def _forget(self, uuid: str, watch: Watch) -> None:
        watching = self._index.get(uuid)
        if watching is not None:
            watching.discard(watch)
            if not watching:
                del self._index[uuid]

    def _clean_up(self, watch: Watch) -> None:
        for state in watch.found[watch._clean :]:
            self._forget(state.TaskUUID, watch)
        watch._clean = len(watch.found)

    def _run(self) -> None:
        unwatch: Callable[[], None] | None = None
        tried: float | None = None
        try:
            while (due := self._next()) is not None:
                if unwatch is None and (tried is None or self._clock() - tried > REWATCH):
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

    def _next(self) -> list[tuple[Watch, list[str]]] | None:
        """Wait for those whose time has come. None: nobody waits, the thread is done."""
        with self._changed:
            idle_since: float | None = None
            while True:
                now = self._clock()
                if not self._watches:
                    self._heap.clear()
                    idle_since = now if idle_since is None else idle_since
                    left = idle_since + LINGER - now
                    if left <= 0 or self._closed:
                        self._thread, self._closed = None, False
                        return None
                    self._changed.wait(left)
                    continue
                idle_since = None
                due: dict[Watch, list[str]] = {}
                while self._heap and self._heap[0][0] <= now:
                    when, _, watch = heapq.heappop(self._heap)
                    if watch in self._watches and watch._due == when and watch not in due:
                        due[watch] = watch.window(now)
                if due:
                    return list(due.items())
                self._changed.wait(max(self._heap[0][0] - now, 0) if self._heap else None)

    def _put_back(self, watches: Iterable[Watch]) -> None:
        with self._changed:
            now = self._clock()
            for watch in watches:
                self._clean_up(watch)
                if watch.over:
                    self._watches.discard(watch)
                    for uuid in watch.uuids():
                        self._forget(uuid, watch)
                elif watch in self._watches:
                    if now >= watch._regular:
                        watch._regular = now + self._pause(watch, now)
                    self._schedule(watch, now if watch._hot else watch._regular)

    @staticmethod
    def _pause(watch: Watch, now: float) -> float:
        if watch.interval is not None:
            return watch.interval
        if watch._soon:
            return SHORTEST
        pause = pause_after(now - watch._started)
        return max(pause, 0.05) if watch.trouble else pause

    def _watch(self) -> Callable[[], None] | None:
        try:
            return self._backend.watch(self.wake)
        except Exception:  # only a shortcut; asking goes on
            log.debug("the backend cannot be watched now", exc_info=True)
            return None

    def _ask(self, due: list[tuple[Watch, list[str]]]) -> None:
        uuids = list(dict.fromkeys(itertools.chain.from_iterable(window for _, window in due)))
        states: dict[str, TaskState | None] = {}
        try:
            for start in range(0, len(uuids), READ):
                part = uuids[start : start + READ]
                states.update(zip(part, self._backend.read(part), strict=True))
        except self._backend.connection_errors as exc:
            for watch, _ in due:
                watch.trouble = type(exc).__name__  # its text may name more than it should
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
        for watch, window in due:
            watch.trouble = ""
            if watch.take(states[uuid] for uuid in window):
                watch.tell()
