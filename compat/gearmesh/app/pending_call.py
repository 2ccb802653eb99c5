"""A call that is sent together with others. Its thread or coroutine waits until it is finished."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from gearmesh.interfaces.commit import Commit

__all__ = ["PendingCall", "finish"]

#: Seconds for which a thread blocks in a lock, where a time limit of its task cannot interrupt it.
MAX_DEAF_S: Final = 1.0


class PendingCall:
    """The Commit of one call, and its outcome.

    Args:
        commit: the call's message, with its PENDING state.
        loop: the running event loop; None: its caller is a thread that will block.

    Attributes:
        began: monotonic time at which the caller made the call.
        withdrawn: True: the caller waits no longer; the call is not sent unless it is on its way already.
        error: the error that the caller must raise. If ``error`` and ``alone`` are None, the broker has taken the call.
        alone: the Commit that the caller must send by itself, since it could not be sent with others.
        finished: True: the caller was woken.
    """

    __slots__ = ("_future", "_lock", "alone", "began", "commit", "error", "finished", "loop", "withdrawn")

    def __init__(self, commit: Commit, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.commit = commit
        self.loop = loop
        self.began = time.monotonic()
        self.withdrawn = self.finished = False
        self.error: Exception | None = None
        self.alone: Commit | None = None
        self._future: asyncio.Future[None] | None = None
        if loop is None:
            self._lock = threading.Lock()
            self._lock.acquire()
        else:
            self._future = loop.create_future()

    def wait(self) -> None:
        """Block this thread until the call is finished."""
        try:
            while not self._lock.acquire(timeout=MAX_DEAF_S):
                pass
        except BaseException:  # an interrupt, or a time limit
            self.withdrawn = True
            raise

    async def await_(self) -> None:
        """Wait in the event loop until the call is finished."""
        assert self._future is not None
        try:
            await self._future
        except BaseException:  # the caller was cancelled
            self.withdrawn = True
            raise

    def _wake_coroutine(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def _wake_thread(self) -> None:
        self._lock.release()


def finish(calls: Iterable[PendingCall]) -> None:
    """Wake the callers that were not woken yet. An event loop is woken once for all of its calls."""
    loops: dict[asyncio.AbstractEventLoop, list[PendingCall]] = {}
    for call in calls:
        if call.finished:
            continue
        call.finished = True
        if call.loop is None:
            call._wake_thread()
        else:
            loops.setdefault(call.loop, []).append(call)
    for loop, some in loops.items():
        with suppress(RuntimeError):  # the event loop has ended, and its coroutines with it
            loop.call_soon_threadsafe(_wake_coroutines, some)


def _wake_coroutines(calls: list[PendingCall]) -> None:
    for call in calls:
        call._wake_coroutine()
