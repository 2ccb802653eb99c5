"""The UUIDs that one caller waits for, and the time at which to read them again.

Go announces no results, so the poller has to read states. The pause between two reads for the same waiter grows with
the time that it has waited: elapsed / 50, from 1 ms to 500 ms. So the poller notices no result more than 2 % late, and
a long wait costs the server two small reads a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from typing import Any

from gearmesh.wakeup import Wakeup
from gearmesh.wire.state import TaskState

__all__ = [
    "EARLY_POLL_SHARE",
    "MAX_POLL_INTERVAL_S",
    "MIN_POLL_INTERVAL_S",
    "Steps",
    "WaitHandle",
    "atake_steps",
    "pause_after",
    "take_steps",
]

log = logging.getLogger("gearmesh.waiting")

MIN_POLL_INTERVAL_S, MAX_POLL_INTERVAL_S, POLL_INTERVAL_SHARE = 0.001, 0.5, 1 / 50
#: One waiter adds at most this many UUIDs to a read: one half is the first UUIDs that it needs, the other half takes
#: turns.
MAX_UUIDS_PER_WAITER = 500
#: If a waiter is due, the poller also reads for others that have at most this share of their pause left.
EARLY_POLL_SHARE = 1 / 4


def pause_after(elapsed: float) -> float:
    """Seconds until the next read for a caller that has waited ``elapsed`` seconds."""
    return min(max(elapsed * POLL_INTERVAL_SHARE, MIN_POLL_INTERVAL_S), MAX_POLL_INTERVAL_S)


#: Makes a generator of a waiter's steps from the function that the poller calls when there is news. The generator
#: yields seconds to wait for news (None: without a limit), functions to call that block, and values for the waiter.
Steps = Callable[[Callable[[], object]], Generator[Any, None, None]]


class WaitHandle:
    """The UUIDs that one caller waits for, and the final states that were found so far.

    Args:
        wanted: UUIDs that must become final; then the wait is over.
        upstream: UUIDs without whose success ``wanted`` will never become final.
        fail_fast: True: the first FAILURE ends the wait.
        interval: seconds between two reads of all UUIDs; None: growing.
        notify: the thread that has read or received a state calls it when there is news.

    Attributes:
        found: final states in the order in which they were found.
        over: True: no more states will come.
        failure: the FAILURE that ended the wait, or None.
        error: the backend's error that a repetition would not change, or None.
        trouble: the text of a connection error that goes on; "" if there is none.
    """

    def __init__(
        self,
        wanted: Iterable[str],
        upstream: Iterable[str] = (),
        *,
        fail_fast: bool = True,
        interval: float | None = None,
        notify: Callable[[], object],
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
        self._pause = 0.0
        self._at = 0
        self._indexed: list[str] = []  # the UUIDs under which the poller finds it after an announcement
        self._asked = False  # True: its pause was over when it gave the last window
        self._asked_all = False  # True: with the last window, the poller has read all UUIDs of this turn
        self._soon = False  # True: there was news, and there are more UUIDs than one window has

    def uuids(self) -> list[str]:
        """All UUIDs that it still waits for."""
        return [*self.wanted, *self.upstream]

    def window(self, now: float) -> list[str]:
        """The UUIDs to read now: those announced as final, and all others if the pause is over.

        If there are too many for one read, these are the first ones (the next ones follow as soon as they are final),
        and a part of the others in turn, since one of them may have failed.
        """
        hot, self._hot = list(self._hot), set()
        self._asked = now >= self._regular - self._pause * EARLY_POLL_SHARE
        if not self._asked:
            return hot
        everything = self.uuids()
        self._asked_all = len(everything) <= MAX_UUIDS_PER_WAITER
        if self._asked_all:
            return everything
        half = MAX_UUIDS_PER_WAITER // 2
        others = everything[half:]
        start = self._at if self._at < len(others) else 0
        self._at = start + half
        self._asked_all = self._at >= len(others)
        return list(dict.fromkeys(everything[:half] + others[start : start + half] + hot))

    def take(self, states: Iterable[TaskState | None]) -> bool:
        """Take states that were read; return True if there was news. The success of an upstream task is no news."""
        news = False
        for state in states:
            if state is None or not state.final or self.over:
                continue
            uuid = state.TaskUUID
            if uuid in self.wanted:
                del self.wanted[uuid]
                news = True
            elif uuid in self.upstream:
                del self.upstream[uuid]
                news = news or not state.success
            else:
                continue
            self.found.append(state)
            if self.fail_fast and not state.success and self.failure is None:
                self.failure = state
        self._soon = news and len(self.wanted) > MAX_UUIDS_PER_WAITER // 2
        if not self.wanted:
            self.over = True
            if self.failure is not None and self.failure.TaskUUID in self.upstream:
                self.failure = None
        elif self.failure is not None:
            self.over = True
        return news

    def tell(self) -> None:
        """Call ``notify``, and log its error, so that it does not reach other waiters."""
        try:
            self._notify()
        except Exception:
            log.debug("a waiter is gone", exc_info=True)


def take_steps(steps: Steps) -> Iterator[Any]:
    """Wait and call functions in this thread as ``steps`` say, and yield the values."""
    news = Wakeup()
    with closing(steps(news.set)) as todo:
        for step in todo:
            if step is None or isinstance(step, float):
                news.wait(step)
            elif callable(step):
                step()
            else:
                yield step


async def atake_steps(steps: Steps) -> AsyncIterator[Any]:
    """Do the same as :func:`take_steps` without blocking the event loop."""
    news = asyncio.Event()
    loop = asyncio.get_running_loop()
    with closing(steps(lambda: loop.call_soon_threadsafe(news.set))) as todo:
        for step in todo:
            if step is None or isinstance(step, float):
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(news.wait(), step)
                news.clear()
            elif callable(step):
                await asyncio.to_thread(step)
            else:
                yield step
