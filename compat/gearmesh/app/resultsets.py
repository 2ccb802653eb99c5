"""Results of several tasks: chains, groups and chords, and iteration in order of completion."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gearmesh.app.results import AsyncResult, Result
from gearmesh.app.waiting import Watch
from gearmesh.wire.state import FAILURE, SUCCESS

if TYPE_CHECKING:
    from gearmesh.app.app import App

__all__ = ["ChainResult", "ChordResult", "Completion", "GroupResult", "ResultSet"]


class ResultSet(Result[Any]):
    """Several results.

    Attributes:
        results: its members, in the order in which they were written.
    """

    def __init__(self, results: Sequence[Result[Any]], app: App) -> None:
        self.results = tuple(results)
        self.app = app

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: int) -> Result[Any]:
        return self.results[index]

    def __iter__(self) -> Iterator[Result[Any]]:
        return iter(self.as_completed())

    def __aiter__(self) -> AsyncIterator[Result[Any]]:
        return aiter(self.as_completed())

    def as_completed(self, timeout: float | None = None, interval: float | None = None) -> Completion:
        """Its members in the order in which they end, for ``for`` and for ``async for``.

        A failed one is among them: its ``get()`` raises. Raises ResultTimeout when ``timeout``
        seconds are over and members are missing.
        """
        return Completion(self, timeout, interval)

    @property
    def tasks(self) -> tuple[AsyncResult[Any], ...]:
        return tuple(task for result in self.results for task in result.tasks)

    @property
    def states(self) -> list[str]:
        """The members' states, in order."""
        self._refresh()
        return [
            r._final.State if isinstance(r, AsyncResult) and r._final else _state_of(r) for r in self.results
        ]

    @property
    def completed_count(self) -> int:
        """How many members have succeeded or failed."""
        return sum(state in (SUCCESS, FAILURE) for state in self.states)


class GroupResult(ResultSet):
    """The results of a group; ``get()`` gives a list, in the members' order.

    Attributes:
        uuid: the group's id.
    """

    def __init__(self, uuid: str, results: Sequence[Result[Any]], app: App) -> None:
        super().__init__(results, app)
        self.uuid = uuid

    def __repr__(self) -> str:
        return f"<GroupResult {self.uuid} of {len(self.results)}>"

    @property
    def finals(self) -> Sequence[AsyncResult[Any]]:
        return [task for result in self.results for task in result.finals]

    @property
    def upstream(self) -> Sequence[AsyncResult[Any]]:
        return [task for result in self.results for task in result.upstream]

    def _value(self) -> list[Any]:
        return [result._value() for result in self.results]


class ChainResult(ResultSet):
    """The results of a chain's steps; ``get()`` gives the last one's, or raises what ended the chain."""

    def __repr__(self) -> str:
        return f"<ChainResult of {len(self.results)}, last {self.results[-1]!r}>"

    @property
    def finals(self) -> Sequence[AsyncResult[Any]]:
        return self.results[-1].finals

    @property
    def upstream(self) -> Sequence[AsyncResult[Any]]:
        before = [task for result in self.results[:-1] for task in result.tasks]
        return [*before, *self.results[-1].upstream]

    def _value(self) -> Any:
        return self.results[-1]._value()


class ChordResult(ResultSet):
    """The result of a chord's body; ``get()`` raises ChordMemberFailed as soon as a member has failed.

    Go: a caller of Machinery's gets nothing and no error there.

    Attributes:
        header: the members' results. body: the body's. ``results`` are the members.
    """

    def __init__(self, header: GroupResult, body: Result[Any], app: App) -> None:
        super().__init__(header.results, app)
        self.header = header
        self.body = body

    def __repr__(self) -> str:
        return f"<ChordResult {self.header.uuid} of {len(self.results)}, body {self.body!r}>"

    @property
    def uuid(self) -> str:
        """The header's group id."""
        return self.header.uuid

    @property
    def finals(self) -> Sequence[AsyncResult[Any]]:
        return self.body.finals

    @property
    def upstream(self) -> Sequence[AsyncResult[Any]]:
        return [*self.header.tasks, *self.body.upstream]

    @property
    def tasks(self) -> tuple[AsyncResult[Any], ...]:
        return (*self.header.tasks, *self.body.tasks)

    def _value(self) -> Any:
        return self.body._value()


class Completion:
    """One walk over a set's members in the order in which they end."""

    def __init__(self, results: ResultSet, timeout: float | None, interval: float | None) -> None:
        self._set = results
        self._timeout = timeout
        self._interval = interval

    def __iter__(self) -> Iterator[Result[Any]]:
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

    async def __aiter__(self) -> AsyncIterator[Result[Any]]:
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

    def __init__(self, results: ResultSet, notify: Any, interval: float | None) -> None:
        results.app._need_results()
        members = list(results.results)
        self._tasks = {task.uuid: (task, member) for member in members for task in member.tasks}
        self._ready = deque(member for member in members if member._settled())
        self._open = {id(member): member for member in members if not member._settled()}
        unknown = [uuid for uuid, (task, _) in self._tasks.items() if not task._final]
        self.watch = Watch(unknown, fail_fast=False, interval=interval, notify=notify)
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


def _state_of(result: Result[Any]) -> str:
    """A member's state from what was just read."""
    if isinstance(result, AsyncResult):
        return result._final.State if result._final else result._state
    if result._settled():
        return FAILURE if result._first_failure() else SUCCESS
    return next((task._state for task in result.tasks if not task._final), "PENDING")
