"""The default executor: a fixed number of threads over one deque."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from gearmesh.wire.commit import Commit
from gearmesh.worker.job import Job

__all__ = ["ThreadExecutor"]

#: How much work may wait here, in seconds of running it.
AHEAD = 0.02
#: And how many jobs at the most.
MOST = 1024


class ThreadExecutor:
    """Runs jobs in ``slots`` threads, first come first served.

    At most one thread that was woken is still on its way: whoever takes a job wakes the next one if there is
    more. So tasks of microseconds don't pay for waking all threads, and blocking tasks get all of them.

    Args:
        run: job to Commit; must not raise.
        done: called in the thread that ran the job.
    """

    def __init__(self, slots: int, run: Callable[[Job], Commit], done: Callable[[Job, Commit], None]) -> None:
        self.slots = slots
        self._run = run
        self._done = done
        self._waiting: deque[Job] = deque()
        self._lock = threading.Lock()
        self._work = threading.Semaphore(0)
        self._idle = 0
        self._coming = 0
        self._closing = False
        #: mean seconds a task runs, the last ones weighing most
        self._pace = AHEAD
        self._threads = [
            threading.Thread(target=self._loop, name=f"gearmesh-task-{i}", daemon=True) for i in range(slots)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Jobs not begun."""
        return len(self._waiting)

    @property
    def wanted(self) -> int:
        """How many deliveries the worker should hold: one a slot, and what will have begun within 20 ms."""
        return min(MOST, self.slots + int(self.slots * AHEAD / max(self._pace, 1e-6)))

    def submit(self, jobs: Sequence[Job]) -> None:
        self._waiting.extend(jobs)
        self._wake_one()

    def take_back(self, keep: int = 0) -> list[Job]:
        """Withdraw jobs not begun, but for the first ``keep``; in their order."""
        back: list[Job] = []
        while len(self._waiting) > keep:
            try:
                back.append(self._waiting.pop())
            except IndexError:
                break
        back.reverse()
        return back

    def stop(self) -> None:
        """Let the threads end when their jobs are done; jobs not begun stay where they are."""
        self._closing = True
        for _ in self._threads:
            self._work.release()

    def join(self, timeout: float) -> bool:
        """Wait for running jobs; True if all ended within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _wake_one(self) -> None:
        if self._coming or not self._idle:
            return
        with self._lock:
            if self._coming or not self._idle:
                return
            self._coming += 1
            self._idle -= 1
        self._work.release()

    def _loop(self) -> None:
        waiting, run, done = self._waiting, self._run, self._done
        clock = time.monotonic
        woken = False
        while not self._closing:
            try:
                job = waiting.popleft()
            except IndexError:
                with self._lock:
                    if woken:
                        self._coming -= 1
                    # Between the look above and here a job may have come while this thread counted as busy.
                    if waiting or self._closing:
                        woken = False
                        continue
                    self._idle += 1
                self._work.acquire()
                woken = True
                continue
            if woken:
                woken = False
                with self._lock:
                    self._coming -= 1
            if waiting:
                self._wake_one()
            job.started_at = start = clock()
            commit = run(job)
            took = clock() - start
            pace = self._pace
            # Slower tasks are believed sooner: holding too much is worse than fetching too often.
            self._pace = pace + (took - pace) * (0.3 if took > pace else 0.05)
            done(job, commit)
