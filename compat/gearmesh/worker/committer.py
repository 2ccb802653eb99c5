"""Gathers the Commits that became ready during the last flush and flushes them together."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import kombu
import msgspec

from gearmesh.backoff import Backoff
from gearmesh.commits.flusher import Flusher
from gearmesh.errors import GearmeshError, Unstorable
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import Commit, Outcome, Settle
from gearmesh.interfaces.observer import Flush
from gearmesh.service import Service
from gearmesh.wakeup import Wakeup
from gearmesh.wire.names import failure_record
from gearmesh.wire.state import FAILURE, RECEIVED, STARTED, TaskState
from gearmesh.worker.events import WorkerEvents
from gearmesh.worker.job import Job
from gearmesh.worker.job_table import JobTable
from gearmesh.worker.observers import Observers
from gearmesh.worker.runner import Runner
from gearmesh.worker.task_log import about

__all__ = ["Committer"]

log = logging.getLogger("gearmesh.worker")

#: Seconds for which a state must last before it is written in a Commit of its own.
SHOW_STATE_AFTER_S = 0.05
#: Seconds before another attempt to get a chord trigger that another worker holds.
BUSY_RETRY_DELAY_S = 0.003
#: The largest number of Commits in one flush. Redis carries out one call at a time. While it carries out a larger
#: flush, a fetch waits, and the worker runs out of tasks.
MAX_FLUSH_COMMITS = 256
#: The largest number of Commits in one flush that show the states of long tasks.
MAX_FLUSH_SHOWN_STATES = MAX_FLUSH_COMMITS // 2


#: A Commit, and the job that it belongs to, or None. It is a plain tuple because every task makes one.
Item = tuple[Commit, "Job | None"]


class Committer:
    """Flushes the Commits of all jobs, many at a time, in a thread with a connection of its own.

    Args:
        connect: makes a kombu connection (not connected yet).
        backend: where states go.
        jobs: the worker's jobs; the committer removes those that are settled.
        runner: makes the Commits that follow from the outcome of others.
        observers: receive each flush; None: there are no observers.
    """

    def __init__(
        self,
        connect: Callable[[], kombu.Connection],
        backend: Backend,
        jobs: JobTable,
        runner: Runner,
        observers: Observers | None = None,
    ) -> None:
        self._observers = observers or None
        self._connect = connect
        self._backend = backend
        self._jobs = jobs
        self._runner = runner
        self._events = WorkerEvents()
        self._items: deque[Item] = deque()
        self._busy: list[Item] = []
        self._news = Wakeup()
        #: True: a thread that added a Commit has set the event, and the loop has not cleared it since
        self._told = False
        self._retry_now = threading.Event()
        self._connection: kombu.Connection | None = None
        self._flusher: Flusher | None = None
        self._checked_at = 0.0
        #: True while the thread waits without a limit, since there are no jobs
        self._asleep = False
        self._idle = threading.Event()
        self._idle.set()
        self._service = Service("gearmesh-committer", self._loop, self._wake)
        self._stopping = self._service.stopping

    def start(self, events: WorkerEvents) -> None:
        """Start the thread, which reports ``events``."""
        self._events = events
        self._service.start()

    def add(self, commit: Commit, job: Job | None = None) -> None:
        """Hand over a Commit; any thread."""
        self._items.append((commit, job))
        if not self._told:
            self._told = True
            self._idle.clear()
            self._news.set()

    def retry_now(self) -> None:
        """Repeat at once a flush that waits for a server, since the server may be back. Any thread."""
        self._retry_now.set()

    def watch_jobs(self) -> None:
        """Wake the thread if it sleeps, so that it writes the states of long jobs. Any thread."""
        if self._asleep:
            self._news.set()

    def drain(self, timeout: float) -> bool:
        """Wait until all Commits are flushed; True if that happened within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while self._items or self._busy or not self._idle.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._idle.wait(min(left, 0.05))
        return True

    def stop(self, timeout: float) -> None:
        """End the thread, and wait ``timeout`` seconds for that. Deliveries that were not settled stay unacked."""
        self._service.stop(timeout)

    def _wake(self) -> None:
        self._retry_now.set()
        self._news.set()

    # -- the thread

    def _loop(self) -> None:
        while not self._stopping.is_set():
            self._wait()
            items = self._gather()
            if items:
                self._flush(items)
            if not self._items and not self._busy:
                self._idle.set()
                if self._items:  # a Commit came between the check and the flag
                    self._idle.clear()
        self._disconnect()

    def _wait(self) -> None:
        if self._busy:
            self._news.wait(BUSY_RETRY_DELAY_S)
        elif not self._items:
            if not self._jobs:
                self._asleep = True
                if not self._jobs:  # no job came before the flag was set
                    self._news.wait()
                self._asleep = False
            else:
                self._news.wait(SHOW_STATE_AFTER_S / 2)
        self._news.clear()
        # In this order: a Commit added in between is gathered now, one added later sets the event.
        self._told = False

    def _gather(self) -> list[Item]:
        self._idle.clear()
        items, self._busy = self._busy, []
        take = self._items.popleft
        # Other threads only add items, so these are there.
        items += [take() for _ in range(min(len(self._items), MAX_FLUSH_COMMITS - len(items)))]
        if self._items:
            self._news.set()
        now = time.monotonic()
        if now - self._checked_at >= SHOW_STATE_AFTER_S / 2:
            self._checked_at = now
            self._events.tick()
            self._show(now, items)
        return items

    def _show(self, now: float, items: list[Item]) -> None:
        """Add Commits that write the states of long tasks; Commits for which no room is left go with the next flush.

        Only the newest state is written: a job that has ended needs no STARTED.
        """
        shown: list[Item] = []
        done: set[Job | None] | None = None
        for job in self._jobs.snapshot():
            if now - job.received_at < SHOW_STATE_AFTER_S:
                continue
            if done is None:
                done = {job for _, job in (*items, *self._items.copy())}
            state = ""
            if job.started_at:
                if job.shown != STARTED and now - job.started_at >= SHOW_STATE_AFTER_S:
                    state = STARTED
            elif not job.shown:
                state = RECEIVED
            if state and job not in done:
                job.shown = state
                states = (TaskState(TaskUUID=job.sig.UUID, State=state),)
                shown.append((Commit(states=states, settle=Settle(job.delivery, "keep")), None))
                if len(shown) == MAX_FLUSH_SHOWN_STATES:
                    break
        left = max(0, len(items) + len(shown) - MAX_FLUSH_COMMITS)
        if left:
            self._items.extendleft(reversed(items[-left:]))
            self._news.set()
            del items[-left:]
        items[:0] = shown

    def _flush(self, items: list[Item]) -> None:
        """Flush the items, and repeat that while a server is unreachable, until every item has an outcome."""
        backoff = Backoff()
        while True:
            try:
                began = time.monotonic()
                outcomes = self._outcomes([commit for commit, _ in items], again=backoff.count > 0)
                took = time.monotonic() - began
                self._handle(items, outcomes, repeated=backoff.count > 0)
                if self._observers is not None:
                    self._observers.flushed(Flush(items, outcomes, took, backoff.count > 0))
                if backoff.count:
                    self._events.stalled(False)
                return
            except self._trouble() as exc:
                if self._flusher is not None:
                    remaining = self._flusher.remaining([commit for commit, _ in items])
                    items = [(commit, job) for commit, (_, job) in zip(remaining, items, strict=True)]
                self._disconnect()
                if self._stopping.is_set():
                    return
                self._events.stalled(True)
                if self._observers is not None and not backoff.count:
                    self._observers.stalled()
                backoff.log(log, "results and acknowledgements wait, a server is unreachable", exc)
                self._retry_now.clear()
                if not self._stopping.is_set():
                    self._retry_now.wait(backoff.next())
            except Exception as exc:
                if backoff.count:
                    self._events.stalled(False)
                if len(items) == 1:
                    self._give_up(items[0], exc)
                    return
                # One bad commit must not stop the others.
                for item in items:
                    self._flush([item])
                return

    def _outcomes(self, commits: Sequence[Commit], *, again: bool) -> list[Outcome]:
        if self._flusher is not None and getattr(self._connection, "elsewhere", False):
            self._disconnect()
        if self._flusher is None:
            self._connection = self._connect()
            self._flusher = Flusher(self._connection.channel(), self._backend)
        return self._flusher.flush(commits, again=again)

    def _handle(self, items: Sequence[Item], outcomes: Sequence[Outcome], *, repeated: bool) -> None:
        again = []
        for (commit, job), outcome in zip(items, outcomes, strict=True):
            if outcome == "complete" and job is not None:
                again.append((self._runner.fire_chord(job, commit), job))
            elif outcome == "retry_all":
                self._busy.append((commit, job))
            elif outcome == "retry_unwritten":
                self._busy.append((msgspec.structs.replace(commit, states=()), job))
            else:
                if commit.settle is not None and commit.settle.how != "keep":
                    self._jobs.pop(commit.settle.delivery.id, None)
                    if commit.settle.how in ("park", "dead"):
                        self._events.removed(commit.settle.delivery, outcome)
                if outcome == "lost" and job is not None and not repeated:
                    log.warning(
                        "its lease was lost while it ran, so another worker runs it again",
                        extra=about(job.sig),
                    )
        if again:
            self._items.extendleft(reversed(again))
            self._news.set()
        self._events.flushed()

    def _give_up(self, item: Item, exc: Exception) -> None:
        """End a Commit that can never succeed: FAILURE if only the result is at fault, else a dead letter."""
        commit, job = item
        if isinstance(exc, Unstorable) and job is not None and exc.uuid == failure_record(job.sig.UUID):
            # Store the FAILURE without its record, rather than no FAILURE.
            states = tuple(state for state in commit.states if state.TaskUUID != exc.uuid)
            self._flush([(msgspec.structs.replace(commit, states=states), job)])
            return
        failed = any(state.State == FAILURE for state in commit.states)
        if isinstance(exc, Unstorable) and job is not None and not failed and commit.trigger is None:
            self._flush([(self._runner.fail_unstorable(job, exc), job)])
        else:
            self._dead_letter(item, exc)

    def _dead_letter(self, item: Item, exc: Exception) -> None:
        """Dead-letter the message, with the reason."""
        commit, job = item
        settle = commit.settle
        what = job.sig.UUID if job is not None else "a delivery"
        log.error(
            "the outcome of %s cannot be committed, its message becomes a dead letter: %s",
            what,
            exc,
            exc_info=not isinstance(exc, GearmeshError),
        )
        if job is not None and job.sig.ChordCallback is not None and self._flusher is not None:
            self._flusher.release_group(job.sig.GroupUUID, job.sig.UUID)
        if settle is None or settle.how in ("keep", "dead"):
            return
        self._flush([(Commit(settle=Settle(settle.delivery, "dead", f"commit failed: {exc}")), job)])

    def _trouble(self) -> tuple[type[BaseException], ...]:
        errors = self._backend.connection_errors
        connection = self._connection
        return errors if connection is None else (*errors, *connection.connection_errors)

    def _disconnect(self) -> None:
        connection, self._connection, self._flusher = self._connection, None, None
        if connection is not None:
            close_quietly(connection)


def close_quietly(connection: kombu.Connection) -> None:
    """Close a connection that may be broken already."""
    try:
        connection.close()
    except Exception as exc:
        log.debug("closing a broken connection: %s", exc)
