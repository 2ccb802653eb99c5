"""The asyncio executor: thousands of coroutines on one loop in one thread."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableSequence, Sequence

from gearmesh.errors import ConfigError
from gearmesh.interfaces.commit import Commit, Settle
from gearmesh.service import Service
from gearmesh.worker.executor import withdraw
from gearmesh.worker.job import Job
from gearmesh.worker.options import MAX_ASYNCIO_THREADS
from gearmesh.worker.threads import MAX_QUEUED_JOBS, MAX_QUEUED_WORK_S, ThreadExecutor

__all__ = ["AsyncExecutor"]

log = logging.getLogger("gearmesh.worker")


class AsyncExecutor:
    """Runs ``async def`` tasks on one loop, ``slots`` at a time, and ``def`` tasks in at most 8 further threads.

    Args:
        slots: coroutines that run at a time.
        run: runs the job of a ``def`` task and returns its Commit; must not raise.
        arun: the same for ``async def`` tasks.
        done: takes the Commit, in the thread that ran the job.
        places: as for :class:`.ThreadExecutor`. The first ones are for coroutines, the last 8 for threads.
    """

    def __init__(
        self,
        slots: int,
        run: Callable[[Job], Commit],
        arun: Callable[[Job], Awaitable[Commit]],
        done: Callable[[Commit, Job], None],
        places: MutableSequence[int] | None = None,
    ) -> None:
        self.slots = slots
        self._arun = arun
        self._done = done
        size = slots + MAX_ASYNCIO_THREADS if places is None else len(places)
        shown: MutableSequence[int] = [0] * size if places is None else places
        self._places = shown
        threads = min(slots, MAX_ASYNCIO_THREADS)
        #: the last places are those of the threads
        coroutines = size - MAX_ASYNCIO_THREADS
        self._threads = ThreadExecutor(threads, run, done, shown[coroutines : coroutines + threads])
        self._waiting: deque[Job] = deque()
        #: indexes of unused places on the scoreboard; there may be more of them than slots
        self._free = list(range(coroutines - 1, -1, -1))
        self._tasks: dict[Job, asyncio.Task[None]] = {}
        self._loop = asyncio.new_event_loop()
        self._service = Service("gearmesh-loop", self._serve)
        self._called = False
        self._closing = False
        self._held = False
        #: mean seconds a coroutine takes, the last ones weighing most
        self._pace = 1.0

    def start(self) -> None:
        self._threads.start()
        self._service.start()

    @property
    def waiting(self) -> int:
        """The number of jobs that have not begun."""
        return len(self._waiting) + self._threads.waiting

    @property
    def wanted(self) -> int:
        """See :attr:`gearmesh.worker.executor.Executor.wanted`."""
        if self._threads.waiting:  # the next jobs may be for the threads, too, which have enough
            return len(self._tasks) + self._threads.wanted
        ahead = min(MAX_QUEUED_JOBS, int(self.slots * MAX_QUEUED_WORK_S / max(self._pace, 1e-6)))
        return self.slots + ahead

    def submit(self, jobs: Sequence[Job]) -> None:
        plain = [job for job in jobs if not job.task.is_async]
        if plain:
            self._threads.submit(plain)
        if len(plain) < len(jobs):
            self._waiting.extend(job for job in jobs if job.task.is_async)
            self._call()

    def take_back(self) -> list[Job]:
        """Withdraw the jobs that have not begun: coroutines, then the others, each in their order."""
        return withdraw(self._waiting) + self._threads.take_back()

    def interrupt(self, job: Job, error: Exception) -> None:
        """See :meth:`gearmesh.worker.executor.Executor.interrupt`."""
        if not job.task.is_async:
            self._threads.interrupt(job, error)
            return
        task = self._tasks.get(job)
        if task is not None and job.interrupted is None:
            job.interrupted = error
            self._loop.call_soon_threadsafe(task.cancel)

    def hold(self) -> None:
        """See :meth:`gearmesh.worker.executor.Executor.hold`."""
        self._held = True
        self._threads.hold()

    def resume(self) -> None:
        """See :meth:`gearmesh.worker.executor.Executor.resume`."""
        self._held = False
        self._threads.resume()
        if self._waiting:
            self._call()

    def resize(self, slots: int) -> None:
        """See :meth:`gearmesh.worker.executor.Executor.resize`. The number of threads stays."""
        most = len(self._places) - MAX_ASYNCIO_THREADS
        if slots > most:
            raise ConfigError(f"slots is {slots}, expected at most {most} until a restart")
        self.slots = slots
        self._call()

    def stop(self) -> None:
        """Begin no more jobs, and let the threads end when no job runs."""
        self._closing = True
        self._threads.stop()
        if not self._service.started:
            self._loop.close()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end)

    def join(self, timeout: float) -> bool:
        """Wait for running jobs; True if all ended within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        ended = self._service.join(timeout)
        return self._threads.join(max(0.0, deadline - time.monotonic())) and ended

    def nudge(self) -> None:
        """Wake threads, see :meth:`.ThreadExecutor.nudge`."""
        self._threads.nudge()

    def _call(self) -> None:
        """Have the loop begin waiting jobs, unless it is about to do so."""
        if not self._called and not self._closing:
            self._called = True
            self._loop.call_soon_threadsafe(self._begin)

    # -- the loop's thread

    def _serve(self) -> None:
        loop = self._loop
        while True:
            try:
                loop.run_forever()
                break
            except BaseException as exc:  # for example a SystemExit in an asyncio task that a task has made
                log.error("an exception reached the event loop: %r", exc, exc_info=exc)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    def _begin(self) -> None:
        self._called = False
        waiting, free, tasks = self._waiting, self._free, self._tasks
        while free and len(tasks) < self.slots and not (self._closing or self._held):
            try:
                job = waiting.popleft()
            except IndexError:
                return
            tasks[job] = self._loop.create_task(self._one(job, free.pop()))

    def _end(self) -> None:
        if not self._tasks:
            self._loop.stop()

    async def _one(self, job: Job, place: int) -> None:
        places = self._places
        places[place] = job.delivery.id
        job.started_at = start = time.monotonic()
        try:
            commit = await self._arun(job)
        except asyncio.CancelledError:  # interrupted before the coroutine had begun
            commit = Commit(settle=Settle(job.delivery, "head"))
        finally:
            places[place] = 0
            self._free.append(place)
            del self._tasks[job]
        job.ended_at = time.monotonic()
        self._pace += (job.ended_at - start - self._pace) * 0.1
        self._done(commit, job)
        if self._closing:
            self._end()
        elif self._waiting:
            self._begin()
