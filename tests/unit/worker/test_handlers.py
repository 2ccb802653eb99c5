"""The user's functions around tasks: in Go's order, and never in the way."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec
import pytest
from tests.unit.worker.support import without_record

from gearmesh import App, RetryLater, TaskError, current
from gearmesh.interfaces.commit import Commit
from gearmesh.wire.signature import Arg, Signature
from gearmesh.wire.state import FAILURE, PENDING, SUCCESS, TaskState
from gearmesh.wire.types import arg
from gearmesh.worker.job import Job
from gearmesh.worker.runner import Runner
from gearmesh.worker.worker import Worker

MakeJob = Callable[..., Job]


@pytest.fixture
def heard(app: App) -> list[str]:
    """The calls of handlers and tasks, in order."""
    heard: list[str] = []

    @app.before_task
    def before(sig: Signature) -> None:
        heard.append(f"before {sig.Name}")

    @app.after_task
    def after(sig: Signature) -> None:
        heard.append(f"after {sig.Name}")

    @app.on_error
    def error(sig: Signature, exc: BaseException) -> None:
        heard.append(f"error {sig.Name} {type(exc).__name__}")

    @app.task
    def fine() -> None:
        heard.append("fine")

    @app.task
    def one(a: int) -> int:
        heard.append("one")
        return a

    @app.task
    def fails() -> None:
        heard.append("fails")
        raise ValueError("boom")

    @app.task
    def later() -> None:
        raise RetryLater(1)

    app.task(lambda: object(), name="unspeakable")

    @app.task
    async def waits() -> None:
        await asyncio.sleep(0)
        heard.append(f"waits {current().name}")

    return heard


@pytest.fixture(params=["run", "arun"])
def run(request: pytest.FixtureRequest, app: App) -> Iterator[Callable[[Job], Commit]]:
    """A runner's two doors."""
    runner = Runner(app)

    def arun(job: Job) -> Commit:
        return asyncio.run(runner.arun(job)) if job.task.is_async else runner.run(job)

    yield arun if request.param == "arun" else runner.run
    runner.loop.stop()


@pytest.mark.parametrize(
    ("name", "args", "retries", "order"),
    [
        ("fine", (), 0, ["before fine", "fine", "after fine"]),
        ("waits", (), 0, ["before waits", "waits waits", "after waits"]),
        ("fails", (), 0, ["before fails", "fails", "error fails ValueError", "after fails"]),
        ("fails", (), 2, ["before fails", "fails", "after fails"]),
        ("later", (), 0, ["before later", "after later"]),
        (
            "unspeakable",
            (),
            1,
            ["before unspeakable", "error unspeakable LocalProtocolError", "after unspeakable"],
        ),
        # Go: an argument that can't be read is no call; one that does not fit is a call that fails.
        ("one", (Arg("", "int64", msgspec.Raw(b'"x"')),), 1, ["error one ArgumentUnreadable"]),
        ("one", (), 0, ["before one", "error one CallMismatch", "after one"]),
        ("one", (), 1, ["before one", "after one"]),
    ],
)
def test_the_order(
    name: str,
    args: tuple[Arg, ...],
    retries: int,
    order: list[str],
    heard: list[str],
    run: Callable[[Job], Commit],
    make_job: MakeJob,
) -> None:
    run(make_job(name, *args, RetryCount=retries))
    assert heard == order


def test_eager_tasks_have_handlers_too(eager_heard: tuple[App, list[str]]) -> None:
    app, heard = eager_heard

    @app.task
    def child(a: int) -> None:
        if a:
            raise ValueError

    child.delay(0)
    child.delay(1)
    assert heard == ["before", "after", "before", "error ValueError", "after"]


@pytest.fixture
def eager_heard() -> tuple[App, list[str]]:
    app, heard = App("eager"), list[str]()
    app.before_task(lambda sig: heard.append("before"))
    app.after_task(lambda sig: heard.append("after"))
    app.on_error(lambda sig, exc: heard.append(f"error {type(exc).__name__}"))
    return app, heard


def test_several_of_a_kind_in_order(app: App, make_job: MakeJob) -> None:
    heard: list[int] = []
    app.task(lambda: None, name="fine")
    for number in range(3):
        app.before_task(partial(lambda number, sig: heard.append(number), number))
    Runner(app).run(make_job("fine"))
    assert heard == [0, 1, 2]


def test_the_current_task_is_known_to_handlers(app: App, make_job: MakeJob) -> None:
    heard: list[str] = []
    app.task(lambda: 1 / 0, name="fails")
    app.before_task(lambda sig: heard.append(current().uuid))
    app.on_error(lambda sig, exc: heard.append(current().uuid))
    app.after_task(lambda sig: heard.append(current().uuid))
    job = make_job("fails")
    Runner(app).run(job)
    assert heard == [job.sig.UUID] * 3


@pytest.mark.parametrize("exc", [ValueError("mine"), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize(("name", "state"), [("fine", SUCCESS), ("fails", FAILURE)])
def test_one_that_raises_changes_nothing(
    name: str,
    state: str,
    exc: BaseException,
    app: App,
    heard: list[str],
    run: Callable[[Job], Commit],
    make_job: MakeJob,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def bad(*args: Any) -> None:
        raise exc

    app.before_task(lambda sig: bad())
    app.after_task(lambda sig: bad())
    app.on_error(lambda sig, exc: bad())
    app.after_task(lambda sig: heard.append("and the next"))
    job = make_job(name)
    with caplog.at_level(logging.ERROR):
        commit = run(job)
    states = without_record(commit) if state == FAILURE else commit.states
    assert [each.State for each in states] == [state]
    assert commit.settle is not None
    assert commit.settle.how == "ack"
    assert heard[-1] == "and the next"
    assert "before_task handler" in caplog.text
    assert ("on_error handler" in caplog.text) == (state == FAILURE)


def test_a_task_that_had_failed_before_is_not_told_again(
    app: App, heard: list[str], run: Callable[[Job], Commit], make_job: MakeJob
) -> None:
    job = make_job("fails", redelivered=1)
    app.backend.write([TaskState(TaskUUID=job.sig.UUID, State=FAILURE, Error="first")])
    run(job)
    assert heard == []


def test_a_dead_one_is_told(app: App, heard: list[str], make_job: MakeJob) -> None:
    commit = Runner(app).dead_letter(make_job("fine"), "killed at its hard limit")
    assert commit.settle is not None
    assert commit.settle.how == "dead"
    assert heard == ["error fine TaskFailed"]


# -- before consuming


def test_may_consume(app: App) -> None:
    asked: list[object] = []
    allowed = [True, True]
    assert app.handlers.may_consume("worker")
    app.before_consume(lambda: allowed[0])

    @app.before_consume
    def second(worker: object) -> bool:
        asked.append(worker)
        return allowed[1]

    assert app.handlers.may_consume("worker")
    assert asked == ["worker"]
    allowed[1] = False
    assert not app.handlers.may_consume("worker")
    allowed[:] = [False, True]
    assert not app.handlers.may_consume("worker")
    assert len(asked) == 2


def test_one_that_raises_does_not_stop_the_intake(app: App, caplog: pytest.LogCaptureFixture) -> None:
    @app.before_consume
    def broken() -> bool:
        raise OSError("no thermometer")

    assert app.handlers.may_consume()
    assert "no thermometer" in caplog.text


@pytest.mark.parametrize(
    ("kind", "handler"),
    [
        ("on_error", lambda sig: None),
        ("before_task", lambda: None),
        ("after_task", lambda a, b: None),
        ("before_consume", lambda a, b: None),
        ("before_task", "x"),
    ],
)
def test_one_that_could_not_be_called_is_refused(kind: str, handler: Any, app: App) -> None:
    with pytest.raises(TaskError, match=kind):
        getattr(app, kind)(handler)


def test_a_coroutine_function_is_refused(app: App) -> None:
    async def handler(sig: Signature) -> None: ...

    with pytest.raises(TaskError, match="no plain function"):
        app.before_task(handler)


def test_a_task_keeps_its_results_beside_handlers(app: App, heard: list[str], make_job: MakeJob) -> None:
    (state,) = Runner(app).run(make_job("one", arg("int64", 5))).states
    assert state.Results is not None
    assert bytes(state.Results[0].Value) == b"5"


@pytest.mark.parametrize("where", ["url", "redis_url"])
def test_a_worker_pauses(where: str, request: pytest.FixtureRequest) -> None:
    """The worker takes no messages while the handler returns False; delayed messages and heartbeats go on."""
    place = request.getfixturevalue(where)
    with App(place, place, lease=1.0) as app:
        allowed, asked = threading.Event(), list[object]()
        allowed.set()

        @app.before_consume
        def handler(worker: Worker) -> bool:
            asked.append(worker)
            return allowed.is_set()

        task = app.task(lambda: "ran", name="task")
        with Worker(app, concurrency=2) as worker:
            assert task.delay().get(60) == "ran"
            allowed.clear()
            count = len(asked)
            while len(asked) < count + 3:
                time.sleep(0.01)
            results = [task.delay() for _ in range(5)]
            time.sleep(1.5)
            assert [result.state for result in results] == [PENDING] * 5
            allowed.set()
            assert [result.get(60) for result in results] == ["ran"] * 5
            allowed.clear()
            time.sleep(1.2)
            waiting = task.delay()
            assert set(asked) == {worker}
        assert waiting.state == PENDING
