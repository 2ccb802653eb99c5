"""A user's program against a worker of either side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from gearmesh import (
    App,
    ChordMemberFailed,
    Int8,
    LocalProtocolError,
    ResultTimeout,
    TaskFailed,
    Typed,
    chain,
    chord,
    group,
)

from .peers import Peers
from .scenarios import Side

WAIT = 60.0


@pytest.fixture
def app(worker: Side, peers: Peers) -> Iterator[App]:
    """An app that has none of the tasks, and a worker on its queue that has them all."""
    pair = peers.pair(worker, worker)
    with App(broker=pair.url, backend=pair.url, default_queue=pair.queue) as app:
        yield app


@pytest.fixture
def add(app: App) -> Any:
    return app.remote("add", "...int64", results="int64")


def test_delay(add: Any) -> None:
    result = add.delay(1, 2)
    assert result.get(timeout=WAIT) == 3
    assert result.state == "SUCCESS"
    assert result.results == (Typed("int64", 3),)


def test_async_twins(add: Any) -> None:
    async def call() -> int:
        result = await add.adelay(20, 22)
        value: int = await result.aget(timeout=WAIT)
        return value

    assert asyncio.run(call()) == 42


def test_declared_task(app: App) -> None:
    """A task with a function here still runs in the peer: its annotations decide the types of its arguments."""

    @app.task(name="echo_int8")
    def echo(value: Int8) -> Int8:
        raise AssertionError("not here")

    assert echo.delay(-128).get(timeout=WAIT) == -128
    with pytest.raises(LocalProtocolError, match="int8"):
        echo.delay(128)


def test_bytes_and_lists(app: App) -> None:
    echo = app.remote("echo_bytes", "[]byte", results="[]byte")
    assert echo.delay(bytes(range(256))).get(timeout=WAIT) == bytes(range(256))
    concat = app.remote("concat", "[]string")
    assert concat.delay(["a", "é"]).get(timeout=WAIT) == "aé"


def test_two_results(app: App) -> None:
    two = app.remote("two", "int64", "string", results=("int64", "string"))
    assert two.delay(1, "s").get(timeout=WAIT) == (1, "s")


def test_failure_and_its_handler(app: App) -> None:
    fail, on_error = app.remote("fail", "string"), app.remote("on_error", "...string", results="string")
    handler = on_error.s("more").set(uuid="task_handler_of_a_failure_" + str(id(app)))
    result = fail.s("nope").on_error(handler).delay()
    with pytest.raises(TaskFailed, match="nope") as caught:
        result.get(timeout=WAIT)
    assert caught.value.error == "nope"
    assert app.result(f"task_handler_of_a_failure_{id(app)}").get(timeout=WAIT) == "handled:nope,more"


def test_chain(add: Any, app: App) -> None:
    multiply = app.remote("multiply", "...int64", results="int64")
    assert chain(add.s(1, 2), add.s(10), multiply.s(4)).delay().get(timeout=WAIT) == 52
    assert (add.s(1, 2) | add.si(10) | multiply.s(4)).delay().get(timeout=WAIT) == 40


def test_group(add: Any) -> None:
    result = group(add.s(n, n) for n in range(20)).delay()
    assert result.get(timeout=WAIT) == [2 * n for n in range(20)]
    assert sorted(one.get(timeout=WAIT) for one in result) == [2 * n for n in range(20)]


def test_chord(add: Any) -> None:
    assert chord([add.s(n) for n in range(1, 11)], add.s()).delay().get(timeout=WAIT) == 55
    assert chord([add.s(n) for n in range(3)], add.si(5)).delay().get(timeout=WAIT) == 5


def test_chord_with_a_failing_member(add: Any, app: App) -> None:
    fail = app.remote("fail", "string")
    with pytest.raises(ChordMemberFailed, match="no"):
        chord([add.s(1), fail.s("no")], app.remote("add").s()).delay().get(timeout=WAIT)


def test_countdown_and_eta_delay_a_task(add: Any, measure: Callable[[Callable[[], Any]], float]) -> None:
    assert measure(lambda: add.apply_async((1,), countdown=0.6).get(timeout=WAIT)) >= 0.55
    moment = datetime.now(timezone.utc) + timedelta(seconds=0.6)
    assert measure(lambda: add.apply_async((1,), eta=moment).get(timeout=WAIT)) >= 0.5


def test_retry_once(app: App, measure: Callable[[Callable[[], Any]], float]) -> None:
    fail = app.remote("fail", "string")

    def call() -> None:
        with pytest.raises(TaskFailed, match="again"):
            fail.apply_async(("again",), retry_count=1).get(timeout=WAIT)

    assert measure(call) >= 1.0


def test_headers(app: App) -> None:
    with_ctx = app.remote("with_ctx", "int64")
    result = with_ctx.apply_async((3,), headers={"b": "x", "a": True, "c": ["y"]})
    assert result.get(timeout=WAIT) == 'with_ctx|{"a":true,"b":"x","c":["y"]}|3'


def test_nobody_runs_it(app: App) -> None:
    result = app.remote("nobody").apply_async(queue="a-queue-that-nobody-reads")
    with pytest.raises(ResultTimeout):
        result.get(timeout=0.1)
    assert result.state == "PENDING"


@pytest.fixture
def measure() -> Callable[[Callable[[], Any]], float]:
    """Seconds that a call takes."""
    import time

    def measure(call: Callable[[], Any]) -> float:
        began = time.monotonic()
        call()
        return time.monotonic() - began

    return measure
