"""Calls the observers of a worker's tasks, and keeps their exceptions away from the tasks."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from gearmesh.interfaces.commit import Commit
from gearmesh.interfaces.observer import Flush, TaskObserver
from gearmesh.worker.job import Job

__all__ = ["Observers"]

log = logging.getLogger("gearmesh.worker")


class Observers:
    """Calls the observers of one worker, and logs their exceptions.

    Args:
        observers: any number; those that override neither ``begins`` nor ``ended`` cost a task nothing.
    """

    def __init__(self, observers: Sequence[TaskObserver]) -> None:
        self._all = tuple(observers)
        self._of_runs = tuple(
            each
            for each in observers
            if type(each).begins is not TaskObserver.begins or type(each).ended is not TaskObserver.ended
        )

    def __bool__(self) -> bool:
        return bool(self._all)

    def around(self, run: Callable[[Job], Commit]) -> Callable[[Job], Commit]:
        """Return ``run`` with the observers of runs around it, or ``run`` itself if there are no such observers."""
        if not self._of_runs:
            return run

        def observed(job: Job) -> Commit:
            begun = self._begin(job)
            commit = run(job)
            self._end(begun, job, commit)
            return commit

        return observed

    def around_async(self, arun: Callable[[Job], Awaitable[Commit]]) -> Callable[[Job], Awaitable[Commit]]:
        """Do as :meth:`around`, for a coroutine function."""
        if not self._of_runs:
            return arun

        async def observed(job: Job) -> Commit:
            begun = self._begin(job)
            commit = Commit()
            try:
                commit = await arun(job)
            finally:  # the coroutine may be cancelled before it has begun
                self._end(begun, job, commit)
            return commit

        return observed

    def flushed(self, flush: Flush) -> None:
        """Tell all observers of a flush."""
        for each in self._all:
            try:
                each.flushed(flush)
            except Exception:
                log.exception("observer %r: flushed() raised", each)

    def stalled(self) -> None:
        """Tell all observers that Commits wait for a server."""
        for each in self._all:
            try:
                each.stalled()
            except Exception:
                log.exception("observer %r: stalled() raised", each)

    def _begin(self, job: Job) -> list[object]:
        begun: list[object] = []
        for each in self._of_runs:
            try:
                begun.append(each.begins(job))
            except Exception:
                log.exception("observer %r: begins() raised", each)
                begun.append(None)
        return begun

    def _end(self, begun: list[object], job: Job, commit: Commit) -> None:
        for each, token in zip(reversed(self._of_runs), reversed(begun), strict=True):
            try:
                each.ended(token, job, commit)
            except Exception:
                log.exception("observer %r: ended() raised", each)
