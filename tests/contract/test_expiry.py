"""A task's expiry is in its headers: it survives a delay, a retry and another worker, on every broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from gearmesh import App, TaskFailed, chain
from gearmesh.worker import Worker


@pytest.fixture(params=["memory", "redis", "cluster", "amqp"])
def app(request: pytest.FixtureRequest) -> Iterator[App]:
    name = request.param
    url = f"memory://{uuid4().hex}" if name == "memory" else request.getfixturevalue(f"{name}_url")
    with App(url, url) as app:
        yield app


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_the_worker_does_not_start_expired_tasks(app: App, pool: str) -> None:
    ran: list[str] = []

    @app.task
    def note(text: str) -> str:
        ran.append(text)
        return text

    @app.task
    async def anote(text: str) -> str:
        ran.append(text)
        return text

    @app.task(expires=0.01)
    def hurried(text: str) -> None:
        ran.append(text)

    results = [task.apply_async(("late",), countdown=0.4, expires=0.1) for task in (note, anote)]
    results.append(hurried.delay("late"))
    handler = note.s()  # called with the error's text
    results.append(note.s("late").set(expires=0.01, link_error=handler).delay())
    time.sleep(0.05)
    with Worker(app, concurrency=2, pool=pool):  # type: ignore[arg-type]
        for result in results:
            with pytest.raises(TaskFailed, match="failed: expired") as caught:
                result.get(timeout=20)
            assert caught.value.exception_type == ""
        assert note.apply_async(("in time",), countdown=0.2, expires=60).get(timeout=20) == "in time"
        steps = chain(note.s("first"), anote.si("second").set(expires=60)).apply_async()
        assert steps.get(timeout=20) == "second"
    assert ran == ["in time", "first", "second"], "no task follows one that has expired"


def test_a_retry_keeps_it(app: App) -> None:
    tries: list[float] = []

    @app.task(autoretry_for=(OSError,), default_retry_delay=4, max_retries=100)
    def flaky() -> None:
        tries.append(time.monotonic())
        raise OSError

    with Worker(app, concurrency=1), pytest.raises(TaskFailed, match="failed: expired"):
        flaky.apply_async(expires=3).get(timeout=60)
    assert len(tries) == 1
