"""Progress: a task reports it, a waiting caller reads it, and Go does not see it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
import redis

from gearmesh import App, BackendError, Progress, TaskContext, TaskError, current
from gearmesh.backends.memory import MemoryBackend
from gearmesh.results.progress import ProgressBoard
from gearmesh.testing.waiting import eventually
from gearmesh.wire.names import task_report
from gearmesh.worker.job import Job
from gearmesh.worker.runner import Runner
from gearmesh.worker.worker import Worker

MakeJob = Callable[..., Job]


class Writes(MemoryBackend):
    """Records the time of each write; it can be unreachable."""

    connection_errors = (ConnectionError,)

    def __init__(self) -> None:
        super().__init__("progress-writes")
        self.batches: list[tuple[float, dict[str, bytes]]] = []
        self.away = False

    def report(self, bodies: Mapping[str, bytes]) -> None:
        if self.away:
            raise ConnectionError("away")
        self.batches.append((time.monotonic(), dict(bodies)))
        super().report(bodies)


@pytest.fixture(params=["memory", "redis"])
def place(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return str(request.getfixturevalue("url"))
    return str(request.getfixturevalue("redis_url"))


def test_through_a_worker(place: str) -> None:
    with App(place, place) as app:
        half, go_on = threading.Event(), threading.Event()

        @app.task
        def work() -> None:
            current().progress(1, 2, "half <&> é")
            half.set()
            assert go_on.wait(60)
            for done in range(100):
                current().progress(done, 100)
            current().progress(2, 2, "all")

        @app.task
        async def awork() -> None:
            await asyncio.sleep(0)
            current().progress(3)

        result = work.delay()
        assert result.progress is None
        with Worker(app, concurrency=2):
            assert half.wait(60)
            deadline = time.monotonic() + 60
            while (seen := result.progress) is None:
                assert time.monotonic() < deadline
            assert (seen.done, seen.total, seen.note, seen.fraction) == (1, 2, "half <&> é", 0.5)
            assert abs(seen.at - time.time()) < 60
            go_on.set()
            result.get(60)
            last = result.progress  # at once: it was written before the task's end was
            assert last is not None
            assert (last.done, last.note) == (2, "all")
            other = awork.delay()
            other.get(60)
            assert (last := other.progress) is not None
            assert (last.done, last.total, last.fraction, last.note) == (3, None, None, "")
        result.forget()
        assert result.progress is None


def test_many_reports_are_few_writes_and_the_last_is_among_them() -> None:
    backend = Writes()
    board = ProgressBoard(backend)
    began = time.monotonic()
    told = 0
    while time.monotonic() - began < 0.55:
        told += 1
        board.tell("a", told, None, "")
        board.tell("b", told, None, "")
    board.flush()
    assert told > 100
    assert len(backend.batches) <= 8
    gaps = [
        later[0] - earlier[0]
        for earlier, later in zip(backend.batches[:-1], backend.batches[1:-1], strict=False)
    ]
    assert all(gap > 0.09 for gap in gaps)
    assert [found.done for found in board.read(["a", "b"]) if found] == [told, told]
    board.close()


def test_the_first_is_seen_at_once_and_the_last_without_an_end() -> None:
    backend = Writes()
    board = ProgressBoard(backend)
    board.tell("a", 1, None, "")
    eventually(lambda: [found.done for found in board.read(["a"]) if found] == [1])
    board.tell("a", 2, None, "")
    board.tell("a", 3, None, "")
    eventually(lambda: [found.done for found in board.read(["a"]) if found] == [3])
    board.close()


def test_progress_is_written_again_after_the_backend_was_unreachable(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = Writes()
    backend.away = True
    board = ProgressBoard(backend)
    board.tell("a", 1, None, "")
    board.flush()
    assert "progress" in caplog.text
    backend.away = False
    board.tell("b", 2, None, "")
    board.flush()
    assert [found.done for found in board.read(["a", "b"]) if found] == [1, 2]
    board.close()
    board.close()
    board.tell("c", 3, None, "")
    board.close()
    assert board.read(["c"])[0] is not None


def test_a_backend_that_keeps_none() -> None:
    with App("memory://progress-null", "null") as app:
        board = app.progress
        board.tell("a", 1, None, "")
        board.flush()
        assert app.result("a").progress is None


def test_a_progress_report_is_one_key_in_redis_that_expires(redis_url: str) -> None:
    with App(redis_url, redis_url, results_expire_in=50) as app, redis.Redis.from_url(redis_url) as client:
        app.progress.tell("task_1", 1, 3, "")
        app.progress.flush()
        assert client.keys() == [task_report("task_1").encode()]
        assert 45 < client.ttl(task_report("task_1")) <= 50
        client.set(task_report("task_2"), b"no JSON")
        assert app.result("task_2").progress is None


def test_a_server_that_is_away(make_redis: Callable[..., Any]) -> None:
    server = make_redis()
    app = App(server.url, server.url)
    server.kill()
    with pytest.raises(BackendError, match="cannot be reached"):
        _ = app.result("task_1").progress
    app.close()


@pytest.mark.parametrize(
    "args", [("1",), (-1,), (float("nan"),), (True,), (1, "2"), (1, -1), (1, 2, b"x"), (1, float("inf"))]
)
def test_wrong_arguments(args: tuple[Any, ...], app: App, make_job: MakeJob) -> None:
    app.task(lambda: None, name="task")
    context = TaskContext(make_job("task").sig, app)
    with pytest.raises(TaskError, match="progress: "):
        context.progress(*args)


def test_eager_tasks_tell_it_too() -> None:
    with App("eager") as app:
        work = app.task(lambda: current().progress(4, 4), name="work")
        found = work.delay().progress
        assert found is not None
        assert found.fraction == 1.0


def test_fractions() -> None:
    assert [Progress(done, total).fraction for done, total in ((1, 4), (5, 4), (1, 0), (1, None))] == [
        0.25,
        1.0,
        None,
        None,
    ]


# -- the context itself


def test_the_context(app: App, make_job: MakeJob) -> None:
    seen: list[TaskContext] = []
    app.task(lambda: seen.append(current()), name="task")
    headers = {"trace": msgspec.Raw(b'"x"'), "n": msgspec.Raw(b"[1,2]")}
    job = make_job("task", Headers=headers, RetryCount=3)
    Runner(app).run(job)
    (context,) = seen
    assert context.signature is job.sig
    assert (context.uuid, context.name, context.app) == (job.sig.UUID, "task", app)
    assert (context.UUID, context.RetryCount, context.ETA) == (job.sig.UUID, 3, None)
    assert context.headers == {"trace": "x", "n": [1, 2]}
    assert context.revoked is False
    assert repr(context) == f"<TaskContext task {job.sig.UUID}>"
    with pytest.raises(AttributeError, match="a task's request has no 'nonsense'"):
        _ = context.nonsense


def test_each_coroutine_sees_its_own(app: App, make_job: MakeJob) -> None:
    """On one loop, through the thread executor's loop, and in coroutines that they start."""

    @app.task
    async def who() -> str:
        before = current().uuid
        await asyncio.sleep(0.01)

        async def child() -> str:
            return current().uuid

        inner = await asyncio.create_task(child())
        thread = await asyncio.to_thread(lambda: current().uuid)
        assert before == current().uuid == inner == thread
        return before

    runner = Runner(app)
    jobs = [make_job("who") for _ in range(20)]

    async def together() -> None:
        commits = await asyncio.gather(*(asyncio.create_task(runner.arun(job)) for job in jobs))
        for job, commit in zip(jobs, commits, strict=True):
            results = commit.states[0].Results
            assert results is not None
            assert bytes(results[0].Value).decode() == f'"{job.sig.UUID}"'

    asyncio.run(together())
    found: list[str] = []

    def one(job: Job) -> None:
        results = runner.run(job).states[0].Results
        assert results is not None
        found.append(bytes(results[0].Value).decode()[1:-1])

    threads = [threading.Thread(target=one, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(job.sig.UUID for job in jobs)
    runner.loop.stop()
    with pytest.raises(TaskError):
        current()
