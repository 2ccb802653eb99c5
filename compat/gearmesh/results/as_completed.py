"""Walks over the members of a result in the order in which they end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from typing import Any, Generic, TypeVar

from gearmesh.results.async_result import Result, check_interval
from gearmesh.results.wait_handle import WaitHandle, atake_steps, take_steps

__all__ = ["AsCompleted"]

#: The type of a member's value.
M_co = TypeVar("M_co", covariant=True)


class AsCompleted(Generic[M_co]):
    """One walk over members in the order in which they end, for ``for`` and for ``async for``.

    Args:
        whole: the result that has these members.
        timeout: seconds; None: no limit.
        interval: seconds between two looks; None: growing, see :mod:`.wait_handle`.
    """

    def __init__(
        self,
        whole: Result[Any],
        members: Sequence[Result[M_co]],
        timeout: float | None,
        interval: float | None,
    ) -> None:
        check_interval(interval)
        self._whole = whole
        self._members = members
        self._timeout = timeout
        self._interval = interval

    def __iter__(self) -> Iterator[Result[M_co]]:
        return take_steps(self._steps)

    def __aiter__(self) -> AsyncIterator[Result[M_co]]:
        return atake_steps(self._steps)

    def _steps(self, notify: Callable[[], object]) -> Generator[Result[M_co] | float | None, None, None]:
        """Yield each member that has ended; in between, the seconds to wait for news (None: no limit)."""
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        walk = _Walk(self._whole, self._members, notify, self._interval)
        poller = self._whole.app.result_poller
        poller.add(walk.handle)
        try:
            while True:
                yield from walk.ended()
                if not walk.left:
                    return
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    self._whole._raise_timeout(walk.handle, self._timeout)
                yield remaining
        finally:
            poller.remove(walk.handle)


class _Walk:
    """Finds the members that have ended, in the states that a handle finds."""

    def __init__(
        self,
        whole: Result[Any],
        members: Sequence[Result[Any]],
        notify: Callable[[], object],
        interval: float | None,
    ) -> None:
        whole.app.require_results()
        self._tasks = {task.uuid: (task, member) for member in members for task in member.tasks}
        self._ready = deque(member for member in members if member._settled())
        self._open = {id(member): member for member in members if not member._settled()}
        unknown = [uuid for uuid, (task, _) in self._tasks.items() if not task._final]
        self.handle = WaitHandle(unknown, fail_fast=False, interval=interval, notify=notify)
        self._seen = 0

    @property
    def left(self) -> int:
        """The number of members that have not been yielded."""
        return len(self._ready) + len(self._open)

    def ended(self) -> Iterator[Result[Any]]:
        """Yield the members that have ended since the last call."""
        while True:
            while self._ready:
                yield self._ready.popleft()
            found = self.handle.found[self._seen :]
            if not found:
                break
            self._seen += len(found)
            for state in found:
                task, member = self._tasks[state.TaskUUID]
                task._final = state
                if id(member) in self._open and member._settled():
                    self._ready.append(self._open.pop(id(member)))
        if self.handle.error is not None:
            raise self.handle.error
