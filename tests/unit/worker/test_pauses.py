"""Paused queues and tasks, and workers that grow and shrink, in one process."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from gearmesh import App, ConfigError
from gearmesh.interfaces.commit import Commit
from gearmesh.testing.waiting import eventually
from gearmesh.worker import Worker
from gearmesh.worker.threads import ThreadExecutor


def test_a_paused_task_waits_and_others_run(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearmesh.worker.pauses.PAUSED_TASK_DELAY_S", 0.1)

    @app.task
    def one() -> int:
        return 1

    @app.task
    def two() -> int:
        return 2

    with Worker(app) as worker:
        worker.pause([], ["one"])
        waiting = one.delay()
        assert two.delay().get(timeout=60) == 2
        assert waiting.state == "PENDING"
        worker.pause([], [])
        assert waiting.get(timeout=60) == 1


def test_a_paused_queue_waits_and_others_are_read(app: App) -> None:
    @app.task
    def one() -> int:
        return 1

    with Worker(app, queues=["a", "b"]) as worker:
        worker.pause(["a"], [])
        eventually(lambda: worker._intake._paused == {"a"})
        waiting = one.s().set(queue="a").delay()
        assert one.s().set(queue="b").delay().get(timeout=60) == 1
        assert waiting.state == "PENDING"
        worker.pause([], [])
        assert waiting.get(timeout=60) == 1
        worker.pause(["a", "b"], [])
        eventually(lambda: worker._intake._paused == {"a", "b"})
        worker.pause([], [])
        assert one.s().set(queue="b").delay().get(timeout=60) == 1


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_a_worker_grows_and_shrinks(app: App, pool: Any) -> None:
    gate, inside = threading.Semaphore(0), threading.Semaphore(0)

    @app.task
    def hold() -> None:
        inside.release()
        gate.acquire()

    @app.task
    async def quick() -> int:
        return 1

    with Worker(app, concurrency=1, pool=pool) as worker:
        if pool == "threads":
            worker.resize(3)
        results = [hold.delay() for _ in range(4)]
        for _ in range(3 if pool == "threads" else 1):
            assert inside.acquire(timeout=60)
        assert len(worker.running()) == (3 if pool == "threads" else 1)
        worker.resize(1)
        gate.release(4)
        for result in results:
            result.wait(timeout=60)
        for slots in (5, 1, 2):
            if pool == "asyncio" and slots > 1:
                with pytest.raises(ConfigError, match="until a restart"):
                    worker.resize(slots)
            else:
                worker.resize(slots)
            assert [quick.delay().get(timeout=60) for _ in range(3)] == [1, 1, 1]


def test_threads_that_are_too_many_end_and_none_is_missed(make_job: Any, app: App) -> None:
    @app.task
    def noop() -> None:
        pass

    done: list[Any] = []
    executor = ThreadExecutor(8, lambda job: Commit(), lambda commit, job: done.append(job))
    executor.start()
    count = 0
    for slots in (1, 8, 3, 12, 1, 2):
        executor.resize(slots)
        executor.submit([make_job("noop") for _ in range(200)])
        count += 200
        eventually(lambda: len(done) == count)  # noqa: B023
    executor.stop()
    assert executor.join(30)


def test_a_scoreboard_bounds_the_threads() -> None:
    executor = ThreadExecutor(1, lambda job: Commit(), lambda commit, job: None, [0, 0])
    executor.resize(2)
    with pytest.raises(ConfigError, match="slots is 3, expected at most 2"):
        executor.resize(3)
    executor.stop()
    assert executor.join(30)
