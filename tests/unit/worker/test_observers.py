"""Observers see each task once, and cannot disturb it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from gearmesh import App
from gearmesh.interfaces.commit import Commit
from gearmesh.interfaces.observer import Flush, ObservedJob, TaskObserver
from gearmesh.wire.state import FAILURE, SUCCESS
from gearmesh.worker import Worker
from gearmesh.worker.observers import Observers


class Notes(TaskObserver):
    """Records the calls that it gets."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.done: list[tuple[object, str]] = []
        self.flushes: list[str] = []

    def begins(self, job: ObservedJob) -> object:
        self.begun.append(job.sig.UUID)
        return job.sig.Name

    def ended(self, begun: object, job: ObservedJob, commit: Commit) -> None:
        self.done.append((begun, commit.states[-1].State))

    def flushed(self, flush: Flush) -> None:
        self.flushes += [job.sig.UUID for _, job in flush.items if job is not None]


class Broken(TaskObserver):
    """Raises."""

    def begins(self, job: ObservedJob) -> object:
        raise ValueError("begins")

    def ended(self, begun: object, job: ObservedJob, commit: Commit) -> None:
        assert begun is None
        raise ValueError("ended")

    def flushed(self, flush: Flush) -> None:
        raise ValueError("flushed")


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_each_task_is_seen_once(app: App, pool: Any, caplog: pytest.LogCaptureFixture) -> None:
    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    @app.task
    async def fail() -> None:
        raise ValueError

    notes = Notes()
    app.observers.append(Broken())
    with caplog.at_level(logging.CRITICAL, "gearmesh"), Worker(app, pool=pool, observers=[notes]):
        results: list[Any] = [add.delay(1, 2), fail.delay()]
        for result in results:
            result.wait(timeout=60)
    uuids = sorted(result.id for result in results)
    assert sorted(notes.begun) == sorted(notes.flushes) == uuids
    assert sorted(map(str, notes.done)) == sorted(map(str, [("add", SUCCESS), ("fail", FAILURE)]))


def test_a_worker_without_observers_of_runs_runs_them_as_they_are() -> None:
    def run(job: Any) -> Commit:
        return Commit()

    async def arun(job: Any) -> Commit:
        return Commit()

    class Flushes(TaskObserver):
        def flushed(self, flush: Flush) -> None:
            pass

    for observers in (Observers(()), Observers((Flushes(),))):
        assert observers.around(run) is run
        assert observers.around_async(arun) is arun
    assert not Observers(())
