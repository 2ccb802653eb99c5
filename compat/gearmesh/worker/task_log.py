"""The log lines about each task: received, succeeded, retried, failed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final

from gearmesh.results.failures import user_traceback
from gearmesh.units import counted, duration
from gearmesh.wire.signature import Signature
from gearmesh.worker.job import Job

__all__ = ["TaskLog", "about", "without_lines_of"]

log = logging.getLogger("gearmesh.worker")

#: Seconds over which lines are counted against the limit, and after which a summary is due.
WINDOW_S: Final = 1.0


class Successes:
    """The count and the seconds of a task's successes in one thread that got no line of their own.

    One thread adds, without a lock, and the thread that logs the summary reads.
    """

    __slots__ = ("count", "logged", "logged_seconds", "name", "seconds")

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = self.logged = 0
        self.seconds = self.logged_seconds = 0.0


class TaskLog:
    """Log a line at INFO when a task is received and when it succeeds, and a line at ERROR when it fails.

    Beyond ``limit`` tasks a second their lines are left out, and one summary a second counts them by task and outcome:
    a worker runs tens of thousands of tasks a second, and a line costs about as much as a quick task. Failures have a
    limit of their own, so that a flood of successes does not hide them. Safe in threads.

    Args:
        limit: the number of tasks a second that get lines, and of failures a second that do; 0: all of them.
        clock: monotonic seconds.
    """

    def __init__(self, limit: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._window_ends = 0.0
        #: whether INFO is logged, as found at the begin of the window
        self._informs = False
        self._lines = self._failures = 0
        self._successes: list[Successes] = []
        #: the successes in the event loop's thread
        self._in_loop: dict[str, Successes] = {}
        #: (task, outcome, level) -> the number of other lines that were left out, and seconds that those tasks ran
        self._left_out: dict[tuple[str, str, int], list[float]] = {}

    def received(self, job: Job) -> None:
        """Log that a worker has taken a task's message, or leave this task's lines out."""
        if job.received_at >= self._window_ends:
            self._next_window(job.received_at)
        if not self._informs:
            return
        if self._limit:
            if self._lines >= self._limit:
                return
            self._lines += 1
        job.logged = True
        log.info("received", extra=about(job.sig))

    def succeeded(self, job: Job) -> None:
        """Log the success of a task that has just ended."""
        if job.logged:
            seconds = self._clock() - job.started_at
            log.info(
                "succeeded in %s",
                duration(seconds),
                extra={**about(job.sig), "_details": {"seconds": seconds}},
            )
        elif self._informs:
            slot = job.slot
            mine = self._in_loop if slot is None else slot.successes
            name = job.sig.Name
            entry = mine.get(name)
            if entry is None:
                entry = mine[name] = self._entry(name)
            entry.count += 1
            entry.seconds += self._clock() - job.started_at

    def _entry(self, name: str) -> Successes:
        entry = Successes(name)
        with self._lock:
            self._successes.append(entry)
        return entry

    def retried(self, job: Job, seconds: float, left: int, error: BaseException | None) -> None:
        """Log that a task will be tried again.

        Args:
            seconds: seconds until the next try.
            left: the number of tries that are left after that one.
            error: the exception for which it is retried; None: the task asked for the retry.
        """
        if error is None:
            if job.logged:
                log.info("retry in %s, as the task asked", duration(seconds), extra=about(job.sig))
            elif self._informs:
                self._leave_out(job, "retried", logging.INFO)
            return
        if not self._may_log_failure():
            self._leave_out(job, f"will be retried after {type(error).__name__}", logging.WARNING)
            return
        log.warning(
            "retry in %s (%s): %s",
            duration(seconds),
            "the last try" if left == 0 else counted(left, "more retry", "more retries"),
            _shown(error),
            extra=about(job.sig),
        )

    def failed(self, job: Job, text: str, error: BaseException | None) -> None:
        """Log a failure, with the traceback from the task's own code on.

        Args:
            text: the error as the state has it.
            error: the task's exception; None: the reason is another one.
        """
        if not self._may_log_failure():
            outcome = "failed" if error is None else f"failed with {type(error).__name__}"
            self._leave_out(job, outcome, logging.ERROR)
            return
        after = f" after {duration(self._clock() - job.started_at)}" if job.started_at else ""
        trace = None if error is None else user_traceback(error)
        info = None if error is None or trace is None else (type(error), error, trace)
        log.error(
            "failed%s: %s",
            after,
            text if error is None else _shown(error),
            extra=about(job.sig),
            exc_info=info,
        )

    def flush(self) -> None:
        """Log the summary if it is due. Call it regularly, since no task may come for a long time."""
        now = self._clock()
        if now >= self._window_ends:
            self._next_window(now)

    def close(self) -> None:
        """Log the summary of the lines that were left out since the last one. Call it before the worker ends."""
        self._next_window(self._clock())

    def _may_log_failure(self) -> bool:
        now = self._clock()
        if now >= self._window_ends:
            self._next_window(now)
        self._failures += 1
        return not self._limit or self._failures <= self._limit

    def _leave_out(self, job: Job, outcome: str, level: int) -> None:
        seconds = self._clock() - job.started_at if job.started_at else 0.0
        key = (job.sig.Name, outcome, level)
        with self._lock:
            found = self._left_out.setdefault(key, [0, 0.0])
            found[0] += 1
            found[1] += seconds

    def _next_window(self, now: float) -> None:
        with self._lock:
            left_out, self._left_out = self._left_out, {}
            for entry in self._successes:
                counted_now, ran = entry.count, entry.seconds
                if counted_now > entry.logged:
                    found = left_out.setdefault((entry.name, "succeeded", logging.INFO), [0, 0.0])
                    found[0] += counted_now - entry.logged
                    found[1] += ran - entry.logged_seconds
                    entry.logged, entry.logged_seconds = counted_now, ran
            self._window_ends = now + WINDOW_S
            self._informs = log.isEnabledFor(logging.INFO)
            self._lines = self._failures = 0
        for (name, outcome, level), (count, seconds) in sorted(left_out.items()):
            log.log(
                level,
                "%d more %s in the last second, %s each on average (more than %d a second are not logged one by one)",
                count,
                outcome,
                duration(seconds / count),
                self._limit,
                extra={"task": name, "_details": {"count": count, "mean_seconds": seconds / count}},
            )


def about(sig: Signature) -> dict[str, str]:
    """Return the fields by which a log record names its task."""
    return {"task": sig.Name, "uuid": sig.UUID}


@contextmanager
def without_lines_of(tasks: Collection[str]) -> Iterator[None]:
    """Log no line about these tasks inside the block: a command that runs them reports their outcomes itself."""

    def is_other(record: logging.LogRecord) -> bool:
        return getattr(record, "task", None) not in tasks

    log.addFilter(is_other)
    try:
        yield
    finally:
        log.removeFilter(is_other)


def _shown(error: BaseException) -> str:
    text = " ".join(str(error).split())  # a record is one line; the traceback has the text as it is
    name = type(error).__name__
    return f"{name}: {text}" if text else name
