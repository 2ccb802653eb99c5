"""Walks over the members of a result in the order in which they end."""

from __future__ import annotations

import time
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
        interval: seconds between two reads of the backend; None: growing, see :mod:`.wait_handle`.
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
        self._whole.app.require_results()
        tasks = {task.uuid: (task, member) for member in self._members for task in member.tasks}
        ended = [member for member in self._members if member._settled()]
        running = {id(member) for member in self._members} - {id(member) for member in ended}
        unknown = [uuid for uuid, (task, _) in tasks.items() if not task._final]
        handle = WaitHandle(unknown, fail_fast=False, interval=self._interval, notify=notify)
        poller = self._whole.app.result_poller
        poller.add(handle)
        try:
            yield from ended
            seen = 0
            while running:
                for state in handle.found[seen:]:
                    seen += 1
                    task, member = tasks[state.TaskUUID]
                    task._final = state
                    if id(member) in running and member._settled():
                        running.discard(id(member))
                        yield member
                if seen < len(handle.found) or not running:
                    continue
                if handle.error is not None:
                    raise handle.error
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is None or remaining > 0:
                    yield remaining
                elif left := handle.uuids():  # else the poller found the last one just now
                    self._whole._raise_timeout(left, self._timeout, handle.trouble)
        finally:
            poller.remove(handle)
