"""Revoked tasks: not run, told to end, and FAILURE in Go's eyes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from gearmesh import App, BackendError, RetryLater, TaskError, TaskFailed, chain, current
from gearmesh.app.revocations import MIN_SWEEP_SIZE, Revocations
from gearmesh.backends.memory import MemoryBackend
from gearmesh.backends.registry import open_backend
from gearmesh.cli import main
from gearmesh.interfaces.commit import Settle
from gearmesh.testing.proxy import Proxy
from gearmesh.testing.waiting import eventually
from gearmesh.wire.names import REVOKED
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, PENDING, SUCCESS, TaskState
from gearmesh.wire.types import arg
from gearmesh.worker.job import Job
from gearmesh.worker.runner import Runner
from gearmesh.worker.worker import Worker

MakeJob = Callable[..., Job]


class Clock:
    """A monotonic clock that is moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Counting(MemoryBackend):
    """Counts the reads of the revoked tasks."""

    asked = 0

    def revoked(self) -> dict[str, float]:
        self.asked += 1
        return super().revoked()


class Silent(MemoryBackend):
    """Announces nothing: an announcement comes from a thread, and so perhaps after a test has moved its clock."""

    def watch_revoked(self, wake: Callable[[dict[str, float]], None]) -> Callable[[], None]:
        return lambda: None


# -- the service


def test_revocations_before_and_after_the_first_question_are_known(url: str) -> None:
    one, two = open_backend(url, expire=60), open_backend(url, expire=60)
    here, there = Revocations(one), Revocations(two)
    there.revoke(["a"])
    assert here.revoked(["a", "b"]) == {"a"}
    there.revoke(["b"])
    eventually(lambda: here.revoked(["a", "b"]) == {"a", "b"})
    here.revoke(["c"])
    assert here.revoked(["c"]) == {"c"}
    here.close()
    there.close()


def test_nothing_revoked_costs_nothing() -> None:
    backend = Counting()
    service = Revocations(backend)
    assert service.active
    assert service.revoked(["a"]) == set()
    assert not service.active
    asked = backend.asked
    for _ in range(100):
        assert service.revoked(["a"]) == set()
    assert backend.asked == asked
    Revocations(backend).revoke(["a"])
    eventually(lambda: service.active)
    assert service.revoked(["a"]) == {"a"}
    service.close()


def test_it_ends_and_is_forgotten() -> None:
    clock = Clock()
    service = Revocations(Silent("ends"), clock)  # a name of its own: the store of another test may live on
    service.revoked([])
    service.revoke(["a"], 10)
    service.revoke(["a"], timedelta(seconds=5))  # only ever longer
    clock.now += 9.9
    assert service.revoked(["a"]) == {"a"}
    clock.now += 0.2
    assert service.revoked(["a"]) == set()
    for generation in range(10):
        service._learn({f"{generation}-{number}": 1.0 for number in range(MIN_SWEEP_SIZE)})
        clock.now += 2
    assert len(service._known) < 5 * MIN_SWEEP_SIZE
    service.close()


def test_a_watcher_gets_each_revocation_once(url: str) -> None:
    service = Revocations(open_backend(url, expire=60))
    told: list[set[str]] = []

    def bad(uuids: set[str]) -> None:
        raise ValueError

    stop_bad = service.watch(bad)
    stop = service.watch(told.append)
    other = Revocations(open_backend(url, expire=60))
    other.revoke(["a", "b"])
    eventually(lambda: told)
    other.revoke(["a"])
    other.revoke(["c"])
    eventually(lambda: len(told) > 1)
    assert told == [{"a", "b"}, {"c"}]
    stop()
    stop()
    other.revoke(["d"])
    eventually(lambda: service.revoked(["d"]))
    assert len(told) == 2
    stop_bad()
    assert service._unwatch is None
    service.close()
    service.close()
    assert service.revoked(["a"]) == {"a"}  # anew
    service.close()


def test_a_backend_that_cannot() -> None:
    app = App("memory://revoke-null", "null")
    with pytest.raises(BackendError, match="keeps no revocations"):
        app.revoke("task_1")
    assert not app.revocations.active
    assert app.revocations.revoked(["task_1"]) == set()
    app.revocations.watch(lambda uuids: None)()
    app.close()


@pytest.mark.parametrize("lasts", [0, -1, float("nan"), timedelta(0), 1e10])
def test_a_wrong_duration(lasts: Any, app: App) -> None:
    with pytest.raises(TaskError, match="lasts is"):
        app.revoke("task_1", lasts=lasts)


def test_wrong_uuids(app: App) -> None:
    for wrong in ("", None, 5):
        with pytest.raises(TaskError, match="expected UUIDs"):
            app.revoke(wrong)  # type: ignore[arg-type]
    app.revoke()


# -- the runner


@pytest.fixture
def ran(app: App) -> list[str]:
    ran: list[str] = []

    @app.task
    def task() -> None:
        ran.append(current().uuid)

    @app.task
    async def atask() -> None:
        ran.append(current().uuid)

    @app.task
    def revokes_itself(how: str) -> str:
        assert not current().revoked
        app.revoke(current().uuid)
        assert current().revoked
        if how == "raises":
            raise ValueError
        if how == "later":
            raise RetryLater(1)
        return how

    app.on_error(lambda sig, exc: ran.append("error handler"))
    return ran


def check_dropped(runner: Runner, job: Job) -> None:
    commit = asyncio.run(runner.arun(job)) if job.task.is_async else runner.run(job)
    assert commit.settle == Settle(job.delivery)
    assert commit.states == (TaskState(TaskUUID=job.sig.UUID, State=FAILURE, Error="revoked"),)
    assert not commit.publishes
    assert commit.chord is None


@pytest.mark.parametrize("name", ["task", "atask"])
def test_one_that_has_not_started_is_dropped(name: str, app: App, ran: list[str], make_job: MakeJob) -> None:
    """Nothing follows: no OnError, no chord, no error handler."""
    child = Signature(Name="next")
    job = make_job(
        name, OnError=(child,), ChordCallback=child, GroupUUID="group_1", GroupTaskCount=1, RetryCount=3
    )
    app.revoke(job.sig.UUID)
    check_dropped(Runner(app), job)
    assert ran == []


def test_one_that_comes_again_is_still_revoked(app: App, ran: list[str], make_job: MakeJob) -> None:
    job = make_job("task", redelivered=1, OnError=(Signature(Name="next"),))
    app.revoke(job.sig.UUID)
    check_dropped(Runner(app), job)
    app.backend.write([TaskState(TaskUUID=job.sig.UUID, State=FAILURE, Error="revoked")])
    check_dropped(Runner(app), job)
    assert ran == []


@pytest.mark.parametrize("how", ["raises", "later"])
def test_a_running_one_is_not_tried_again(how: str, app: App, ran: list[str], make_job: MakeJob) -> None:
    child = Signature(Name="next")
    check_dropped(Runner(app), make_job("revokes_itself", arg("string", how), OnError=(child,), RetryCount=3))
    assert ran == []


def test_a_running_one_that_succeeds_has_succeeded(app: App, ran: list[str], make_job: MakeJob) -> None:
    job = make_job("revokes_itself", arg("string", "ends"), OnSuccess=(Signature(Name="next"),))
    commit = Runner(app).run(job)
    assert [state.State for state in commit.states] == [SUCCESS, PENDING]


# -- a whole worker


@pytest.fixture(params=["memory", "redis"])
def place(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return str(request.getfixturevalue("url"))
    return str(request.getfixturevalue("redis_url"))


def test_through_a_worker(place: str) -> None:
    """Revoked before there is a worker, in a queue, and while one waits for its time."""
    with App(place, place) as app, App(place, place) as elsewhere:
        ran: list[str] = []

        @app.task
        def task() -> str:
            ran.append(current().uuid)
            return "ran"

        before = task.delay()
        elsewhere.result(before.uuid).revoke()
        fine = task.delay()
        with Worker(app, concurrency=2):
            assert fine.get(60) == "ran"
            with pytest.raises(TaskFailed, match="revoked"):
                before.get(60)
            waits = task.apply_async(countdown=2)
            elsewhere.revoke(waits.uuid)
            with pytest.raises(TaskFailed, match="revoked"):
                waits.get(60)
            steps = chain(task.s().set(countdown=2), task.si()).apply_async()
            asyncio.run(steps.arevoke())
            assert steps.wait(60) == FAILURE
            assert task.delay().get(60) == "ran"
        assert len(ran) == 2


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_a_running_one_is_told_to_end(place: str, pool: Any) -> None:
    with App(place, place) as app:
        begun, cleaned = threading.Semaphore(0), list[str]()

        @app.task(retry_count=5)
        def stubborn() -> None:
            begun.release()
            try:
                while True:
                    time.sleep(0.01)
            finally:
                cleaned.append("thread")

        @app.task(retry_count=5)
        async def sleeper() -> None:
            begun.release()
            try:
                await asyncio.sleep(60)
            finally:
                cleaned.append("coroutine")

        @app.task
        def polite() -> str:
            begun.release()
            while not current().revoked:
                pass
            return "left early"

        assert not app.revocations.revoked(["x"])  # known already when the worker starts
        with Worker(app, concurrency=4, pool=pool):
            for task in (stubborn, sleeper):
                result = task.delay()
                assert begun.acquire(timeout=60)
                result.revoke()
                with pytest.raises(TaskFailed, match="failed: revoked"):
                    result.get(60)
            assert cleaned == ["thread", "coroutine"]
            result = polite.delay()
            assert begun.acquire(timeout=60)
            result.revoke()
            assert result.wait(60) in (SUCCESS, FAILURE)  # whichever reached it first


def test_a_cut_connection_loses_no_revocation(redis_url: str, make_proxy: Callable[..., Proxy]) -> None:
    target = redis.connection.parse_url(redis_url)
    proxy = make_proxy(target["port"])
    backend = open_backend(f"redis://127.0.0.1:{proxy.port}/{target['db']}", expire=60)
    service, other = Revocations(backend), Revocations(open_backend(redis_url, expire=60))
    told: list[set[str]] = []
    service.watch(told.append)
    other.revoke(["a"])
    eventually(lambda: service.revoked(["a"]))
    proxy.refuse()
    proxy.cut()
    other.revoke(["b c%d"])
    assert service.revoked(["b c%d"]) == set()
    proxy.allow()
    eventually(lambda: service.revoked(["b c%d"]))
    assert told == [{"a"}, {"b c%d"}]
    service.close()
    backend.close()


def test_revocations_are_one_key_in_redis_that_expires(redis_url: str) -> None:
    with App(redis_url, redis_url) as app, redis.Redis.from_url(redis_url) as client:
        app.revoke("task_1", lasts=0.05)
        app.revoke("task_2", lasts=60)
        app.revoke("task_2", lasts=30)
        time.sleep(0.06)
        app.revoke(*(f"task_{number}" for number in range(3, 1003)))
        assert client.zscore(REVOKED, "task_1") is None
        assert client.zcard(REVOKED) == 1001
        seconds, _ = client.time()
        score = client.zscore(REVOKED, "task_2")
        assert score is not None
        assert 30 < score / 1000 - seconds < 61
        assert 6 * 86400 < client.ttl(REVOKED) <= 7 * 86400
        assert len(app.revocations.revoked([f"task_{number}" for number in range(2000)])) == 1001
        assert client.keys() == [REVOKED.encode()]


def test_an_idle_subscription_asks_redis_nothing(redis_url: str) -> None:
    with App(redis_url, redis_url) as app, redis.Redis.from_url(redis_url) as client:
        app.revocations.revoked(["x"])
        time.sleep(0.2)

        def commands() -> int:
            return int(client.info("stats")["total_commands_processed"])

        before = commands()
        for _ in range(1000):
            assert not app.revocations.active
        time.sleep(1.2)
        assert commands() - before <= 1  # that is our own question


def test_backends_that_are_away_say_so(make_redis: Callable[..., Any]) -> None:
    server = make_redis()
    app = App(server.url, server.url)
    server.kill()
    with pytest.raises(BackendError, match=r"cannot be reached: .*refused"):
        app.revoke("task_1")
    assert app.revocations.revoked(["task_1"]) == set()
    assert app.revocations.active is False
    app.close()


def test_the_command(redis_url: str) -> None:
    done = CliRunner().invoke(main, ["revoke", "--backend", redis_url, "task_1", "task_2", "--lasts", "60"])
    assert done.exit_code == 0, done.output
    with App(redis_url, redis_url) as app:
        assert app.revocations.revoked(["task_1", "task_2", "task_3"]) == {"task_1", "task_2"}
    failed = CliRunner().invoke(main, ["revoke", "--backend", "null", "task_1"])
    assert failed.exit_code == 2
    assert "keeps no revocations" in failed.stderr
    assert CliRunner().invoke(main, ["revoke", "task_1"]).exit_code == 2


def test_many_threads_ask_first_at_once(url: str) -> None:
    Revocations(keeper := open_backend(url, expire=60)).revoke(["a"])
    service = Revocations(open_backend(url, expire=60))
    found: list[set[str]] = []
    threads = [threading.Thread(target=lambda: found.append(service.revoked(["a"]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{"a"}] * 8
    service.close()
    keeper.close()
