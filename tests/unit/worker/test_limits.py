"""Soft limits in threads and on loops, and limits that the worker cannot keep."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from gearmesh import App, TaskFailed
from gearmesh.errors import ConfigError, SoftLimitExceeded
from gearmesh.testing.waiting import eventually
from gearmesh.worker.job import InterruptibleThread, Job
from gearmesh.worker.worker import Worker


def spin(seconds: float) -> None:
    """Take that long in steps of Python code."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.fixture
def calls(app: App) -> list[str]:
    seen: list[str] = []

    @app.task
    def spins(seconds: float) -> str:
        spin(seconds)
        return "ended"

    @app.task
    async def sleeps(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "ended"

    @app.task
    def tidies() -> str:
        try:
            spin(60)
        except SoftLimitExceeded:
            seen.append("tidied")
            return "part of it"
        return "ended"

    @app.task
    async def atidies() -> str:
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("tidied")
        return "ended"

    app.task(soft_limit=0, name="spins_freely")(spins.fn)
    app.task(soft_limit=0, name="sleeps_freely")(sleeps.fn)
    app.task(spin, name="patient", soft_limit=60.0)
    app.task(spin, name="hasty", soft_limit=0.1)
    app.task(spin, name="free", soft_limit=0)
    return seen


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
@pytest.mark.parametrize("name", ["spins", "sleeps"])
def test_a_task_that_takes_too_long_fails(app: App, calls: list[str], pool: Any, name: str) -> None:
    with Worker(app, pool=pool, concurrency=1, soft_limit=0.2):
        began = time.monotonic()
        result = app.tasks[name].delay(60.0)
        with pytest.raises(TaskFailed, match=r"soft time limit of 0\.2 s exceeded"):
            result.get(timeout=60)
        assert 0.2 <= time.monotonic() - began < 60
        assert app.tasks[f"{name}_freely"].delay(0.3).get(timeout=60) == "ended", "the thread goes on"


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_a_task_may_tidy_up(app: App, calls: list[str], pool: Any) -> None:
    with Worker(app, pool=pool, soft_limit=0.1):
        assert app.tasks["tidies"].delay().get(timeout=60) == "part of it"
        with pytest.raises(TaskFailed, match="soft time limit"):
            app.tasks["atidies"].delay().get(timeout=60)
    assert calls == ["tidied", "tidied"]


def test_a_tasks_own_limit_goes_first(app: App, calls: list[str]) -> None:
    with Worker(app, soft_limit=0.2):
        patient, hasty, free = (
            app.tasks[name].delay(seconds)
            for name, seconds in (("patient", 0.5), ("hasty", 60.0), ("free", 0.5))
        )
        patient.get(timeout=60)
        free.get(timeout=60)
        with pytest.raises(TaskFailed, match=r"soft time limit of 0\.1 s"):
            hasty.get(timeout=60)


def test_it_is_an_error_that_is_retried(app: App) -> None:
    runs: list[int] = []

    @app.task
    def slow_once() -> str:
        runs.append(1)
        if len(runs) < 2:
            spin(60)
        return "ended"

    with Worker(app, soft_limit=0.1):  # on a slow machine a later run may take as long, too
        assert slow_once.apply_async(retry_count=5).get(timeout=60) == "ended"
    assert len(runs) > 1


def test_only_processes_keep_a_hard_limit(app: App) -> None:
    with pytest.raises(ConfigError, match=r"^a hard limit of 5 s needs 'gearmesh worker --pool processes'"):
        Worker(app, hard_limit=5)
    app.task(spin, name="stubborn", hard_limit=7)
    with pytest.raises(ConfigError, match=r"^task 'stubborn' has a hard limit of 7 s, which needs"):
        Worker(app)


def test_processes_are_the_commands(app: App) -> None:
    with pytest.raises(ConfigError, match=r"^pool is 'processes', which only the command"):
        Worker(app, pool="processes")
    with pytest.raises(ConfigError, match=r"^pool is 'fibers', expected one of"):
        Worker(app, pool="fibers")  # type: ignore[arg-type]


# -- the slot


def test_an_interruption_too_late_hits_nobody(app: App, calls: list[str], make_job: Any) -> None:
    """However the two meet: it ends the call that it was meant for, or none."""
    jobs: list[Job] = []
    struck: list[Job] = []
    over = threading.Event()
    slots: list[InterruptibleThread] = []

    def work() -> None:
        slot = InterruptibleThread()
        slots.append(slot)
        for job in jobs:
            current = job
            try:
                slot.call(job, lambda: None, [])
            except SoftLimitExceeded:
                struck.append(current)
        over.set()

    jobs += [make_job("spins") for _ in range(20_000)]
    meant: list[Job] = []
    thread = threading.Thread(target=work)
    thread.start()
    eventually(lambda: slots)
    while not over.is_set():
        job = slots[0]._job
        if job is not None and slots[0].interrupt(job, SoftLimitExceeded):
            meant.append(job)
    thread.join(10)
    assert set(map(id, struck)) <= set(map(id, meant))


def test_a_call_that_was_interrupted_ends_without_the_lock(app: App, calls: list[str], make_job: Any) -> None:
    """An exception that is raised while its thread takes a lock may leave the lock locked (CPython 3.14)."""
    over = threading.Event()

    def work() -> None:
        slot = InterruptibleThread()
        slot._lock.acquire()
        slot.call(make_job("spins"), lambda: setattr(slot, "_sent", True), [])
        over.set()

    threading.Thread(target=work, daemon=True).start()
    assert over.wait(10)


def test_a_call_gets_one_exception(
    app: App, calls: list[str], make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one would come after the first one has ended the call, and hit the next call."""
    sent: list[Any] = []
    monkeypatch.setattr("gearmesh.worker.job.raise_in", lambda thread, kind: sent.append(kind) or True)
    slot, job = InterruptibleThread(), make_job("spins")
    for _ in range(2):
        told = slot.call(job, lambda: [slot.interrupt(job, SoftLimitExceeded) for _ in range(2)], [])
        assert told == [True, True]
    assert sent == [SoftLimitExceeded, None] * 2, "each call gets one, which is taken back"


def test_a_task_that_does_not_run_is_not_interrupted(app: App, calls: list[str], make_job: Any) -> None:
    slot = InterruptibleThread()
    assert not slot.interrupt(make_job("spins"), SoftLimitExceeded)
    assert slot.call(make_job("spins"), lambda: 7, []) == 7
