"""The thread executor: order, all slots in use, jobs that it returns, and its end."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gearmesh import App
from gearmesh.interfaces.commit import Commit
from gearmesh.testing.waiting import eventually
from gearmesh.worker.job import Job
from gearmesh.worker.threads import ThreadExecutor

MakeJob = Callable[..., Job]
Start = Callable[..., "Bench"]


class Bench:
    """An executor whose jobs call functions of the test."""

    def __init__(self, slots: int, act: Callable[[Job], object]) -> None:
        self.began: list[Job] = []
        self.ended: list[Job] = []
        self._act = act
        self._lock = threading.Lock()
        self.running = self.most = 0
        self.executor = ThreadExecutor(slots, self._run, self._done)

    def _run(self, job: Job) -> Commit:
        with self._lock:
            self.began.append(job)
            self.running += 1
            self.most = max(self.most, self.running)
        self._act(job)
        with self._lock:
            self.running -= 1
        return Commit()

    def _done(self, *both: Any) -> None:
        self.ended += [each for each in both if isinstance(each, Job)]


@pytest.fixture
def start() -> Iterator[Start]:
    """An executor that runs; it is stopped afterwards."""
    benches: list[Bench] = []

    def start(slots: int, act: Callable[[Job], object] = lambda job: None) -> Bench:
        bench = Bench(slots, act)
        benches.append(bench)
        bench.executor.start()
        return bench

    yield start
    for bench in benches:
        bench.executor.stop()
        assert bench.executor.join(60)


@pytest.fixture(autouse=True)
def tasks(app: App) -> None:
    for name in ("quick", "slow"):
        app.task(lambda: None, name=name)


def test_one_slot_keeps_the_order(start: Start, make_job: MakeJob) -> None:
    bench = start(1)
    jobs = [make_job("quick") for _ in range(500)]
    bench.executor.submit(jobs[:200])
    bench.executor.submit(jobs[200:])
    eventually(lambda: len(bench.ended) == 500)
    assert bench.began == jobs
    assert bench.ended == jobs


def test_each_job_runs_once(start: Start, make_job: MakeJob) -> None:
    bench = start(8)
    jobs = [make_job("quick") for _ in range(3000)]
    for at in range(0, 3000, 7):
        bench.executor.submit(jobs[at : at + 7])
    eventually(lambda: len(bench.ended) >= 3000)
    assert sorted(id(job) for job in bench.ended) == sorted(map(id, jobs))


def test_blocking_tasks_use_every_slot(start: Start, make_job: MakeJob) -> None:
    gate = threading.Event()
    bench = start(6, lambda job: gate.wait(60))
    bench.executor.submit([make_job("slow") for _ in range(12)])
    eventually(lambda: bench.running == 6)
    gate.set()
    eventually(lambda: len(bench.ended) == 12)
    assert bench.most == 6


def test_blocking_tasks_use_every_slot_after_quick_ones(start: Start, make_job: MakeJob) -> None:
    """Quick tasks are left to one thread; another name that blocks must not wait behind it."""
    gate = threading.Event()
    bench = start(5, lambda job: gate.wait(60) if job.sig.Name == "slow" else None)
    bench.executor.submit([make_job("quick") for _ in range(2000)])
    eventually(lambda: len(bench.ended) == 2000)
    bench.executor.submit([make_job("slow") for _ in range(5)])
    eventually(lambda: bench.running == 5)
    gate.set()


def test_a_quick_task_that_turns_slow_is_noticed(start: Start, make_job: MakeJob) -> None:
    """The same name: only the nudge, which the committer gives, can tell."""
    slow, gate = threading.Event(), threading.Event()
    bench = start(5, lambda job: gate.wait(60) if slow.is_set() else None)
    bench.executor.submit([make_job("quick") for _ in range(2000)])
    eventually(lambda: len(bench.ended) == 2000)
    slow.set()
    bench.executor.submit([make_job("quick") for _ in range(5)])

    def all_run() -> bool:
        bench.executor.nudge()
        return bench.running == 5

    eventually(all_run)
    gate.set()


def test_jobs_that_come_one_by_one_are_not_left_lying(start: Start, make_job: MakeJob) -> None:
    bench = start(4)
    for number in range(500):
        bench.executor.submit([make_job("quick")])
        if number % 3 == 0:
            eventually(lambda: bench.executor.waiting == 0)
    eventually(lambda: len(bench.ended) == 500)


class SeenLock:
    """A lock that knows which thread holds it, and tells that another one wants it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.holder = 0
        self.wanted = threading.Event()

    def __enter__(self) -> None:
        if self._lock.locked():
            self.wanted.set()
        self._lock.acquire()
        self.holder = threading.get_ident()

    def __exit__(self, *error: object) -> None:
        self.holder = 0
        self._lock.release()


class WaitingJobs(deque[Job]):
    """The jobs that wait: once, another thread submits one while the slot's thread looks here before it sleeps."""

    def __init__(self, lock: SeenLock, submit: Callable[[], object]) -> None:
        super().__init__()
        self._seen_lock = lock
        self._submitter = threading.Thread(target=submit)

    def __len__(self) -> int:
        length = super().__len__()
        if self._submitter.ident is None and self._seen_lock.holder == threading.get_ident():
            self._submitter.start()
            eventually(lambda: self._seen_lock.wanted.is_set() or not self._submitter.is_alive())
        return length


def test_a_job_that_comes_while_the_only_slot_falls_asleep_begins(make_job: MakeJob) -> None:
    """With the GIL this takes a switch between two instructions. Without it, both threads run at once."""
    ended = threading.Event()
    executor = ThreadExecutor(1, lambda job: Commit(), lambda *both: ended.set())
    lock = SeenLock()
    executor._lock = lock  # type: ignore[assignment]
    executor._waiting = WaitingJobs(lock, lambda: executor.submit([make_job("quick")]))
    executor.start()
    assert ended.wait(30), "the thread sleeps while a job waits"
    executor.stop()
    assert executor.join(60)


def test_jobs_not_begun_are_taken_back_in_order(start: Start, make_job: MakeJob) -> None:
    gate = threading.Event()
    bench = start(2, lambda job: gate.wait(60))
    jobs = [make_job("slow") for _ in range(10)]
    bench.executor.submit(jobs)
    eventually(lambda: bench.running == 2)
    assert bench.executor.waiting == 8
    assert bench.executor.take_back() == jobs[2:]
    assert bench.executor.take_back() == []
    gate.set()
    eventually(lambda: len(bench.ended) == 2)


def test_stop_lets_running_jobs_end_and_begins_no_other(start: Start, make_job: MakeJob) -> None:
    gate = threading.Event()
    bench = start(2, lambda job: gate.wait(60))
    jobs = [make_job("slow") for _ in range(6)]
    bench.executor.submit(jobs)
    eventually(lambda: bench.running == 2)
    bench.executor.stop()
    assert not bench.executor.join(0.05), "two are running"
    gate.set()
    assert bench.executor.join(60)
    assert len(bench.ended) == 2
    assert bench.executor.take_back() == jobs[2:]


def test_held_jobs_begin_when_the_executor_resumes(start: Start, make_job: MakeJob) -> None:
    gate = threading.Event()
    bench = start(2, lambda job: gate.wait(60))
    jobs = [make_job("slow") for _ in range(6)]
    bench.executor.submit(jobs[:2])
    eventually(lambda: bench.running == 2)
    bench.executor.hold()
    bench.executor.submit(jobs[2:])
    gate.set()
    eventually(lambda: len(bench.ended) == 2)
    bench.executor.nudge()
    time.sleep(0.05)
    assert bench.executor.waiting == 4, "the running jobs have ended, no other has begun"
    bench.executor.resume()
    eventually(lambda: len(bench.ended) == 6)


@pytest.mark.parametrize("late", [False, True])
def test_a_held_executor_can_be_stopped(start: Start, make_job: MakeJob, late: bool) -> None:
    bench = start(2)
    if not late:
        bench.executor.hold()
        bench.executor.submit([make_job("slow")])
    bench.executor.stop()
    bench.executor.hold()
    assert bench.executor.join(60)
    assert len(bench.executor.take_back()) == (0 if late else 1)


def test_stop_before_start_and_twice() -> None:
    executor = ThreadExecutor(3, lambda job: Commit(), lambda *both: None)
    executor.stop()
    assert executor.join(0.1), "nothing runs"
    executor = ThreadExecutor(3, lambda job: Commit(), lambda *both: None)
    executor.start()
    executor.stop()
    executor.stop()
    assert executor.join(60)


def test_only_quick_tasks_widen_the_prefetch(start: Start, make_job: MakeJob) -> None:
    slow = start(3, lambda job: time.sleep(0.1))
    slow.executor.submit([make_job("slow") for _ in range(9)])
    eventually(lambda: len(slow.ended) == 9)
    assert slow.executor.wanted == 3
    quick = start(3)

    def widened() -> bool:  # one run that a busy machine held up narrows it for a while
        before = len(quick.ended)
        quick.executor.submit([make_job("quick") for _ in range(500)])
        eventually(lambda: len(quick.ended) == before + 500)
        return quick.executor.wanted > 30

    eventually(widened)
    assert quick.executor.wanted <= 1024
