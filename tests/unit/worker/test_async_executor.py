"""The asyncio executor: coroutines on one loop, functions in threads beside it, jobs that it returns, and its end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from gearmesh import App
from gearmesh.errors import SoftLimitExceeded
from gearmesh.interfaces.commit import Commit, Settle
from gearmesh.testing.waiting import eventually
from gearmesh.worker.coroutines import AsyncExecutor
from gearmesh.worker.job import Job
from gearmesh.worker.worker import Worker

MakeJob = Callable[..., Job]
Start = Callable[..., "Bench"]


async def nothing(job: Job) -> None:
    """The least a coroutine can do."""


class Bench:
    """An executor whose jobs call functions of the test."""

    def __init__(
        self, slots: int, act: Callable[[Job], Awaitable[object]], plain: Callable[[Job], object]
    ) -> None:
        self.began: list[Job] = []
        self.ended: list[Job] = []
        self.commits: list[Commit] = []
        self.threads: set[int] = set()
        self.running = self.most = 0
        self._act = act
        self._plain = plain
        self.board = [0] * (slots + 8)
        self.executor = AsyncExecutor(slots, self._run, self._arun, self._done, self.board)

    def _run(self, job: Job) -> Commit:
        self.threads.add(threading.get_ident())
        self._plain(job)
        return Commit()

    async def _arun(self, job: Job) -> Commit:
        self.began.append(job)
        self.threads.add(threading.get_ident())
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self._act(job)
        finally:
            self.running -= 1
        return Commit()

    def _done(self, commit: Commit, job: Job) -> None:
        self.commits.append(commit)
        self.ended.append(job)


@pytest.fixture
def start() -> Iterator[Start]:
    """An executor that runs; it is stopped afterwards."""
    benches: list[Bench] = []

    def start(
        slots: int,
        act: Callable[[Job], Awaitable[object]] = nothing,
        plain: Callable[[Job], object] = lambda job: None,
    ) -> Bench:
        bench = Bench(slots, act, plain)
        benches.append(bench)
        bench.executor.start()
        return bench

    yield start
    for bench in benches:
        bench.executor.stop()
        assert bench.executor.join(60)


@pytest.fixture(autouse=True)
def tasks(app: App) -> None:
    @app.task
    async def coro() -> None: ...

    @app.task
    def plain() -> None: ...


def test_they_begin_in_order_and_on_one_thread(start: Start, make_job: MakeJob) -> None:
    bench = start(1)
    jobs = [make_job("coro") for _ in range(300)]
    bench.executor.submit(jobs[:100])
    bench.executor.submit(jobs[100:])
    eventually(lambda: len(bench.ended) == 300)
    assert bench.began == jobs
    assert len(bench.threads) == 1


def test_held_jobs_begin_when_the_executor_resumes(start: Start, make_job: MakeJob) -> None:
    gate = threading.Event()

    async def until_open(job: Job) -> None:
        while not gate.is_set():
            await asyncio.sleep(0.005)

    bench = start(2, until_open)
    bench.executor.submit([make_job("coro") for _ in range(2)])
    eventually(lambda: bench.running == 2)
    bench.executor.hold()
    bench.executor.submit([make_job("coro"), make_job("coro"), make_job("plain")])
    gate.set()
    eventually(lambda: len(bench.ended) == 2)
    time.sleep(0.05)
    assert bench.executor.waiting == 3, "the running jobs have ended, no other has begun"
    bench.executor.resume()
    eventually(lambda: len(bench.ended) == 5)


def test_thousands_at_once(start: Start, make_job: MakeJob) -> None:
    gate = asyncio.Event()
    bench = start(5000, lambda job: gate.wait())
    began = time.process_time()
    bench.executor.submit([make_job("coro") for _ in range(5000)])
    eventually(lambda: bench.running == 5000)
    bench.executor._loop.call_soon_threadsafe(gate.set)
    eventually(lambda: len(bench.ended) == 5000)
    assert time.process_time() - began < 5


def test_no_more_than_the_slots(start: Start, make_job: MakeJob) -> None:
    bench = start(3, lambda job: asyncio.sleep(0.05))
    bench.executor.submit([make_job("coro") for _ in range(10)])
    eventually(lambda: len(bench.ended) == 10)
    assert bench.most == 3


def test_functions_run_in_threads_beside(start: Start, make_job: MakeJob) -> None:
    gate = threading.Event()
    bench = start(4, plain=lambda job: gate.wait(60))
    jobs = [make_job(name) for name in ("plain", "coro") * 3]
    bench.executor.submit(jobs)
    eventually(lambda: len(bench.ended) == 3)
    assert all(job.task.is_async for job in bench.ended), "no coroutine waits for a blocking function"
    gate.set()
    eventually(lambda: len(bench.ended) == 6)
    assert len(bench.threads) > 1


def test_blocking_functions_do_not_widen_the_prefetch(start: Start, make_job: MakeJob) -> None:
    gate = threading.Event()
    bench = start(1000, plain=lambda job: gate.wait(60))
    assert bench.executor.wanted >= 1000
    bench.executor.submit([make_job("plain") for _ in range(20)])
    eventually(lambda: bench.executor.waiting == 12)
    assert bench.executor.wanted < 100
    gate.set()


def test_jobs_not_begun_are_taken_back_in_order(start: Start, make_job: MakeJob) -> None:
    gate = asyncio.Event()
    bench = start(2, lambda job: gate.wait())
    jobs = [make_job("coro") for _ in range(8)]
    bench.executor.submit(jobs)
    eventually(lambda: bench.running == 2)
    assert bench.executor.waiting == 6
    assert bench.executor.take_back() == jobs[2:]
    bench.executor._loop.call_soon_threadsafe(gate.set)
    eventually(lambda: len(bench.ended) == 2)


def test_running_jobs_are_on_the_board(start: Start, make_job: MakeJob) -> None:
    gate = asyncio.Event()
    bench = start(5, lambda job: gate.wait())
    jobs = [make_job("coro") for _ in range(3)]
    bench.executor.submit(jobs)
    eventually(lambda: bench.running == 3)
    assert sorted(filter(None, bench.board)) == [job.delivery.id for job in jobs]
    bench.executor._loop.call_soon_threadsafe(gate.set)
    eventually(lambda: not any(bench.board))


def test_an_interruption_cancels(start: Start, make_job: MakeJob) -> None:
    """The task has no result yet, so the worker returns the message to the queue."""
    bench = start(2, lambda job: asyncio.sleep(60))
    job = make_job("coro")
    bench.executor.submit([job])
    eventually(lambda: bench.running == 1)
    bench.executor.interrupt(job, SoftLimitExceeded(1))
    eventually(lambda: bench.ended)
    assert bench.commits == [Commit(settle=Settle(job.delivery, "head"))]


def test_stop_lets_running_jobs_end_and_begins_no_other(start: Start, make_job: MakeJob) -> None:
    gate = asyncio.Event()
    bench = start(2, lambda job: gate.wait())
    jobs = [make_job("coro") for _ in range(6)]
    bench.executor.submit(jobs)
    eventually(lambda: bench.running == 2)
    bench.executor.stop()
    assert not bench.executor.join(0.05), "two are running"
    bench.executor._loop.call_soon_threadsafe(gate.set)
    assert bench.executor.join(60)
    assert len(bench.ended) == 2
    assert bench.executor.take_back() == jobs[2:]


def test_stop_before_start_and_twice() -> None:
    Bench(3, nothing, lambda job: None).executor.stop()
    bench = Bench(3, nothing, lambda job: None)
    bench.executor.start()
    bench.executor.stop()
    bench.executor.stop()
    assert bench.executor.join(60)


def test_a_worker_with_it(app: App) -> None:
    @app.task
    async def double(number: int) -> int:
        await asyncio.sleep(0.01)
        return 2 * number

    @app.task
    def half(number: int) -> int:
        return number // 2

    @app.task
    async def fails() -> None:
        raise SystemExit(3)

    with Worker(app, concurrency=50, pool="asyncio"):
        results = [double.delay(n) for n in range(100)] + [half.delay(n) for n in range(100)]
        failure = fails.delay()
        assert [result.get(timeout=10) for result in results] == [
            *(2 * n for n in range(100)),
            *(n // 2 for n in range(100)),
        ]
        eventually(lambda: failure.state == "FAILURE")
