"""Walking over results in the order in which they end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gearmesh.results.base import Result, check_interval
from gearmesh.results.wait_handle import WaitHandle

if TYPE_CHECKING:
    from gearmesh.results.composite import ResultSet

__all__ = ["AsCompleted"]

#: The type of a member's value.
M_co = TypeVar("M_co", covariant=True)


class AsCompleted(Generic[M_co]):
    """One walk over a set's members in the order in which they end."""

    def __init__(self, results: ResultSet[Any, M_co], timeout: float | None, interval: float | None) -> None:
        check_interval(interval)
        self._set = results
        self._timeout = timeout
        self._interval = interval

    def __iter__(self) -> Iterator[Result[M_co]]:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        news = threading.Event()
        walk = _Walk(self._set, news.set, self._interval)
        waiter = self._set.app._waiter.get()
        waiter.add(walk.watch)
        try:
            while True:
                yield from walk.ended()
                if not walk.left:
                    return
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    self._set._raise_timeout(walk.watch, self._timeout)
                news.wait(remaining)
                news.clear()
        finally:
            waiter.remove(walk.watch)

    async def __aiter__(self) -> AsyncIterator[Result[M_co]]:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        news = asyncio.Event()
        loop = asyncio.get_running_loop()
        walk = _Walk(self._set, lambda: loop.call_soon_threadsafe(news.set), self._interval)
        waiter = self._set.app._waiter.get()
        waiter.add(walk.watch)
        try:
            while True:
                for result in walk.ended():
                    yield result
                if not walk.left:
                    return
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    self._set._raise_timeout(walk.watch, self._timeout)
                try:
                    await asyncio.wait_for(news.wait(), remaining)
                except asyncio.TimeoutError:
                    continue
                news.clear()
        finally:
            waiter.remove(walk.watch)


class _Walk:
    """Which members have ended, from the states that a watch finds."""

    def __init__(self, results: ResultSet[Any, Any], notify: Any, interval: float | None) -> None:
        results.app._need_results()
        members = list(results.results)
        self._tasks = {task.uuid: (task, member) for member in members for task in member.tasks}
        self._ready = deque(member for member in members if member._settled())
        self._open = {id(member): member for member in members if not member._settled()}
        unknown = [uuid for uuid, (task, _) in self._tasks.items() if not task._final]
        self.watch = WaitHandle(unknown, fail_fast=False, interval=interval, notify=notify)
        self._seen = 0

    @property
    def left(self) -> int:
        return len(self._ready) + len(self._open)

    def ended(self) -> Iterator[Result[Any]]:
        """Those that ended since the last call."""
        while True:
            while self._ready:
                yield self._ready.popleft()
            found = self.watch.found[self._seen :]
            if not found:
                break
            self._seen += len(found)
            for state in found:
                task, member = self._tasks[state.TaskUUID]
                task._final = state
                if id(member) in self._open and member._settled():
                    self._ready.append(self._open.pop(id(member)))
        if self.watch.error is not None:
            raise self.watch.error
