"""The default executor: a fixed number of threads over one deque."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, MutableSequence, Sequence
from queue import SimpleQueue

from gearmesh.errors import ConfigError
from gearmesh.interfaces.commit import Commit
from gearmesh.worker.executor import withdraw
from gearmesh.worker.job import InterruptibleThread, Job

__all__ = ["ThreadExecutor"]

#: The work that may wait here, in seconds of its running time.
MAX_QUEUED_WORK_S = 0.02
#: The largest number of jobs that may wait here.
MAX_QUEUED_JOBS = 1024
#: One thread runs tasks that end sooner (seconds): more threads would only compete for the GIL with those that
#: fetch and commit.
QUICK_TASK_S = 0.0005
#: A running job older than this (seconds) was not as quick as its task used to be.
LATE_JOB_S = 0.01


class ThreadExecutor:
    """Runs jobs in ``slots`` threads, first come first served.

    A thread that takes a job wakes one more if more jobs wait, unless the job's task has always been quick. After a
    quick task all threads but one rest. :meth:`nudge` corrects a wrong guess.

    Args:
        run: runs a job and returns its Commit; must not raise.
        done: takes the Commit, in the thread that ran the job.
        places: the scoreboard's places. Each slot writes the fetch counter of its job there, and 0 when that has ended.
            There may be more places than slots, for slots that come later. None: no supervisor reads them.
    """

    def __init__(
        self,
        slots: int,
        run: Callable[[Job], Commit],
        done: Callable[[Commit, Job], None],
        places: MutableSequence[int] | None = None,
    ) -> None:
        self.slots = slots
        self._run = run
        self._done = done
        self._waiting: deque[Job] = deque()
        self._lock = threading.Lock()
        #: a semaphore in C: a thread takes one item to go on
        self._work: SimpleQueue[None] = SimpleQueue()
        self._idle = 0
        self._coming = 0
        #: task name -> mean seconds it runs, the last runs weighing most; not updated below QUICK_TASK_S
        self._paces: dict[str, float] = {}
        #: the job that each thread runs now
        self._running: list[Job | None] = [None] * slots
        self._places: MutableSequence[int] = [0] * slots if places is None else places
        self._grows = places is None
        self._closing = False
        #: True while no job may begin; then the threads wait for the gate
        self._on_hold = False
        self._gate = threading.Event()
        #: threads that have ended since there were too many
        self._retired: set[threading.Thread] = set()
        #: the pace of the task that ended last; before the first, one delivery for each slot is enough
        self._pace = 1.0
        #: threads that have not ended: those beyond ``slots`` end when they are awake and idle
        self._alive = slots
        self._threads = [self._thread(i) for i in range(slots)]

    def _thread(self, place: int) -> threading.Thread:
        return threading.Thread(target=self._loop, args=(place,), name=f"gearmesh-task-{place}", daemon=True)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def resize(self, slots: int) -> None:
        """See :meth:`gearmesh.worker.executor.Executor.resize`."""
        if not self._grows and slots > len(self._places):
            raise ConfigError(f"slots is {slots}, expected at most {len(self._places)} until a restart")
        fresh = []
        with self._lock:
            if self._closing:
                return
            if self._grows:
                self._places.extend([0] * (slots - len(self._places)))
            self.slots = slots
            for place in range(slots):
                if place == len(self._threads):
                    self._running.append(None)
                    self._threads.append(self._thread(place))
                elif self._threads[place] in self._retired:
                    self._retired.discard(self._threads[place])
                    self._threads[place] = self._thread(place)
                else:
                    continue
                fresh.append(self._threads[place])
            self._alive += len(fresh)
        for thread in fresh:
            thread.start()

    def _retires(self, place: int) -> bool:
        """Say whether the thread of a place, which is awake and runs nothing, has to end."""
        with self._lock:
            if place < self.slots or self._closing:
                return False
            self._alive -= 1
            self._retired.add(self._threads[place])
        self._wake_one()  # this thread may have been woken for a job
        return True

    @property
    def waiting(self) -> int:
        """The number of jobs that have not begun."""
        return len(self._waiting)

    @property
    def wanted(self) -> int:
        """See :attr:`gearmesh.worker.executor.Executor.wanted`."""
        if self._pace < QUICK_TASK_S:
            return max(MAX_QUEUED_JOBS, self.slots)
        return max(
            self.slots, min(MAX_QUEUED_JOBS, self.slots + int(self.slots * MAX_QUEUED_WORK_S / self._pace))
        )

    def submit(self, jobs: Sequence[Job]) -> None:
        self._waiting.extend(jobs)
        self._wake_one()

    def take_back(self) -> list[Job]:
        """Withdraw the jobs that have not begun, in their order."""
        return withdraw(self._waiting)

    def interrupt(self, job: Job, error: Exception) -> None:
        """See :meth:`gearmesh.worker.executor.Executor.interrupt`."""
        if job.interrupted is None and job.slot is not None:
            job.interrupted = error
            if not job.slot.interrupt(job, type(error)):
                job.interrupted = None

    def hold(self) -> None:
        """See :meth:`gearmesh.worker.executor.Executor.hold`."""
        self._gate.clear()
        self._on_hold = True
        if self._closing:  # no call of resume() would follow
            self.resume()

    def resume(self) -> None:
        """See :meth:`gearmesh.worker.executor.Executor.resume`."""
        self._on_hold = False
        self._gate.set()

    def stop(self) -> None:
        """Let the threads end when their jobs are done; jobs that have not begun stay here."""
        self._closing = True
        self.resume()
        for _ in self._threads:
            self._work.put(None)

    def join(self, timeout: float) -> bool:
        """Wait for running jobs; True if all ended within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def nudge(self) -> None:
        """Wake threads if jobs wait behind a job that takes longer than its task used to. Call it regularly."""
        if not (self._waiting and self._idle):
            return
        now = time.monotonic()
        late = [job for job in self._running if job is not None and now - job.started_at > LATE_JOB_S]
        for job in late:
            self._paces[job.sig.Name] = max(self._paces.get(job.sig.Name, 0.0), now - job.started_at)
        if late:
            with self._lock:
                count = min(self._idle, len(self._waiting))
                self._idle -= count
                self._coming += count
            for _ in range(count):
                self._work.put(None)

    def _wake_one(self) -> None:
        if self._coming or not self._idle:
            return
        with self._lock:
            if self._coming or not self._idle:
                return
            self._coming += 1
            self._idle -= 1
        self._work.put(None)

    def _rest(self, woken: bool) -> bool:
        """Sleep until woken, unless a job waits and no other thread is awake for it; True if it slept."""
        with self._lock:
            if woken:
                self._coming -= 1
            # Count first, then look for a job: `_wake_one` reads the count without the lock, after its job was added.
            # So it sees that this thread is idle, or this thread sees the job, also in Python without the GIL.
            self._idle += 1
            # A job may have come after the caller found none, while this thread still counted as awake.
            if self._closing or (self._waiting and self._idle == self._alive):
                self._idle -= 1
                return False
        self._work.get()
        return True

    def _loop(self, me: int) -> None:
        waiting, run, done, gate = self._waiting, self._run, self._done, self._gate
        paces, running, places, clock = self._paces, self._running, self._places, time.monotonic
        slot = InterruptibleThread()
        woken = False
        while not self._closing:
            if self._on_hold:
                gate.wait()
                continue
            if me >= self.slots:
                if woken:
                    woken = False
                    with self._lock:
                        self._coming -= 1
                if self._retires(me):
                    return
            try:
                job = waiting.popleft()
            except IndexError:
                woken = self._rest(woken)
                continue
            if woken:
                woken = False
                with self._lock:
                    self._coming -= 1
            name = job.sig.Name
            pace = paces.get(name, MAX_QUEUED_WORK_S)
            if pace >= QUICK_TASK_S and waiting:
                self._wake_one()
            running[me] = job
            job.slot = slot
            places[me] = job.delivery.id
            job.started_at = start = clock()
            commit = run(job)
            job.ended_at = end = clock()
            took = end - start
            places[me] = 0
            running[me] = None
            if pace >= QUICK_TASK_S or took >= QUICK_TASK_S:
                # Slower runs weigh more: to hold too many jobs is worse than to fetch too often.
                paces[name] = pace = pace + (took - pace) * (0.3 if took > pace else 0.05)
            self._pace = pace
            done(commit, job)
            if pace < QUICK_TASK_S and self._idle < self._alive - 1:
                woken = self._rest(False)
