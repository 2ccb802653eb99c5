"""A failure's exception type and traceback, beside the state that Go reads, in every result backend."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis

from gearmesh import App, ChordMemberFailed, TaskFailed, chain, chord, group
from gearmesh.backends.registry import open_backend
from gearmesh.errors import BackendError, Unstorable
from gearmesh.results.failures import MAX_TRACEBACK_BYTES, details_of, read_record, record_of
from gearmesh.wire.names import celery_meta, failure_record
from gearmesh.wire.state import FAILURE, TaskState
from gearmesh.worker import Worker

BACKENDS = ("memory", "redis", "cluster", "memcache", "mongodb", "amqp", "dynamodb")


class OutOfStock(Exception):
    """A service's own exception."""


def look_up(key: str) -> int:
    return {"other": 1}[key]


def find(key: str) -> int:
    return look_up(key)


def sell(name: str) -> None:
    try:
        look_up(name)
    except KeyError as exc:
        raise OutOfStock(f"no {name}") from exc


def leave(code: int) -> None:
    raise SystemExit(code)


async def wait_and_fail() -> None:
    await asyncio.sleep(0)
    raise OutOfStock("later")


def fine() -> int:
    return 1


def total(*numbers: int) -> int:
    return sum(numbers)


TASKS = (find, sell, leave, wait_and_fail, fine, total)


@pytest.fixture
def make_app() -> Iterator[Callable[..., App]]:
    apps: list[App] = []

    def make(broker: str, backend: str, **settings: Any) -> App:
        app = App(broker, backend, **settings)
        for function in TASKS:
            app.task(function)
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


@pytest.fixture(params=BACKENDS)
def app(request: pytest.FixtureRequest, make_app: Callable[..., App]) -> App:
    """An app whose broker is the same server where that is possible."""
    name = request.param
    url = f"memory://{uuid4().hex}" if name == "memory" else request.getfixturevalue(f"{name}_url")
    broker = f"memory://{uuid4().hex}" if name in ("memcache", "mongodb", "dynamodb") else url
    return make_app(broker, url)


def failure(result: Any) -> TaskFailed:
    with pytest.raises(TaskFailed) as caught:
        result.get(timeout=20)
    return caught.value


def test_a_caller_learns_type_and_traceback(app: App) -> None:
    with Worker(app, concurrency=2):
        error = failure(app.tasks["find"].delay("id"))
        assert (error.error, error.exception_type) == ("'id'", "KeyError"), "error is the text that Go reads"
        assert str(error).endswith("failed: KeyError: 'id'")
        lines = error.traceback.splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        assert "in find" in lines[1], "from the task's own code on"
        assert lines[-1] == "KeyError: 'id'"
        left = failure(app.tasks["leave"].delay(3))
        assert (left.error, left.exception_type) == ("3", "SystemExit")
        own = failure(app.tasks["sell"].delay("cup"))
        assert own.exception_type == f"{__name__}.OutOfStock"
        assert "KeyError: 'cup'" in own.traceback
        assert own.traceback.index("direct cause") < own.traceback.index("OutOfStock: no cup")
        late = app.result(own.uuid)
        assert (late.exception_type, late.traceback) == (own.exception_type, own.traceback)
        succeeded = app.tasks["fine"].delay()
        assert succeeded.get(timeout=20) == 1
        assert (succeeded.exception_type, succeeded.traceback) == (None, None)
    assert app.states([failure_record(succeeded.uuid)]) == [None], "a success writes no record"
    late.forget()
    assert app.states([late.uuid, failure_record(late.uuid)]) == [None, None]


def test_a_workflow_has_its_failures_type(app: App) -> None:
    find, total = app.tasks["find"], app.tasks["total"]
    with Worker(app, concurrency=4):
        assert failure(chain(find.s("id"), total.s()).delay()).exception_type == "KeyError"
        members = group(find.s("other"), find.s("id")).delay()
        assert failure(members).exception_type == "KeyError"
        sent = chord([find.s("other"), find.s("id")], total.s()).apply_async()
        error = failure(sent)
        assert isinstance(error, ChordMemberFailed)
        assert error.exception_type == sent.exception_type == "KeyError"
        assert chord([find.s("other"), find.s("other")], total.s()).apply_async().get(timeout=20) == 2


def test_another_failure_under_the_same_id_has_no_type(app: App) -> None:
    """A Go worker that runs a retried call leaves such a failure."""
    with Worker(app, concurrency=1):
        first = failure(app.tasks["find"].apply_async(("id",), uuid=f"task_{uuid4()}"))
    app.backend.write([TaskState(TaskUUID=first.uuid, State=FAILURE, Error="Go's words")])
    second = failure(app.result(first.uuid))
    assert (second.error, second.exception_type, second.traceback) == ("Go's words", "", "")
    assert str(second).endswith("failed: Go's words")
    assert app.result(first.uuid).traceback is None


async def test_without_blocking_the_event_loop(app: App) -> None:
    with Worker(app, concurrency=2):
        with pytest.raises(TaskFailed) as caught:
            await (await app.tasks["wait_and_fail"].adelay())
        assert caught.value.exception_type == f"{__name__}.OutOfStock"
        async for member in await group(app.tasks["find"].s("id")).adelay():
            with pytest.raises(TaskFailed) as caught:
                await member
            assert caught.value.exception_type == "KeyError"


def test_the_failure_record_leaves_go_s_state_and_expires_with_it(
    redis_url: str, make_app: Callable[..., App]
) -> None:
    """The record does not change a byte of Go's state; both expire together."""
    app = make_app(redis_url, redis_url, results_expire_in=50)
    with Worker(app, concurrency=1):
        uuid = failure(app.tasks["find"].delay("id")).uuid
    with redis.Redis.from_url(redis_url) as client:
        assert b'"State":"FAILURE","Results":null,"Error":"\'id\'","CreatedAt"' in client.get(uuid)
        assert 40 < client.ttl(uuid) <= 50
        assert 40 < client.ttl(failure_record(uuid)) <= 50


def test_the_setting(redis_url: str, make_app: Callable[..., App]) -> None:
    app = make_app(redis_url, redis_url, store_tracebacks=False)
    with Worker(app, concurrency=1):
        error = failure(app.tasks["find"].delay("id"))
    assert (error.exception_type, error.traceback) == ("KeyError", "")
    with redis.Redis.from_url(redis_url) as client:
        assert b"look_up" not in b"".join(client.get(key) for key in client.keys("*task_*"))


def test_an_eager_app(make_app: Callable[..., App]) -> None:
    app = make_app("eager", "eager")
    error = failure(app.tasks["sell"].delay("cup"))
    assert error.exception_type == f"{__name__}.OutOfStock"
    assert "in sell" in error.traceback


def test_a_record_that_cannot_be_stored_costs_only_itself(
    make_app: Callable[..., App], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"memory://{uuid4().hex}"
    app = make_app(url, url)
    write = type(app.backend).write

    def small(backend: Any, states: Any) -> None:
        for state in states:
            if state.TaskUUID.startswith("gearmesh:failure:"):
                raise Unstorable(state.TaskUUID, "too large")
        write(backend, states)

    monkeypatch.setattr(type(app.backend), "write", small)
    monkeypatch.setattr("gearmesh.transports.memory.channel.Channel.enlist", lambda *args: False)
    with Worker(app, concurrency=1):
        error = failure(app.tasks["find"].delay("id"))
    assert (error.error, error.exception_type) == ("'id'", "")


# --- the text ------------------------------------------------------------------------------------


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as exc:
        return exc


def test_passwords_of_urls_are_masked() -> None:
    text = "cannot reach redis://shop:hunter2@db.example:6379/0"
    assert "hunter2" not in details_of(raised(OSError(text))).traceback
    assert "redis://***@db.example" in details_of(raised(OSError(text))).traceback


@pytest.mark.parametrize("size", [100_000, 1_000_000])
def test_a_long_traceback_loses_its_middle(size: int) -> None:
    secret = "redis://shop:" + "hunter2" * (size // 7) + "@db.example"
    for text in ("é" * size, secret, "a://" * (size // 4)):
        shown = details_of(raised(ValueError(f"{text} the end"))).traceback
        assert len(shown.encode()) <= MAX_TRACEBACK_BYTES + 100
        assert shown.startswith("Traceback (most recent call last):")
        assert shown.endswith("the end\n")
        assert "hunter2" not in shown


def test_odd_exceptions() -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise ValueError

    details = details_of(raised(Unspeakable()))
    assert details.exception_type.endswith(".Unspeakable")
    surrogate = "no Unicode: \ud800 \udcff"
    record = record_of("task_x", surrogate, details_of(raised(ValueError(surrogate))))
    assert read_record(record, surrogate.encode(errors="replace").decode()) is None
    assert details_of(ValueError("never raised")).traceback == ""


@pytest.mark.parametrize("backend", ["redis", "memcache", "mongodb", "amqp", "dynamodb"])
def test_an_error_that_is_no_unicode_keeps_its_record(backend: str, request: pytest.FixtureRequest) -> None:
    store = open_backend(request.getfixturevalue(f"{backend}_url"), expire=60)
    error = "no Unicode: \ud800 \udcff \ud83d\ude00"
    uuid = f"task_{uuid4()}"
    record = record_of(uuid, error, details_of(raised(ValueError(error))))
    store.write([record, TaskState(TaskUUID=uuid, State=FAILURE, Error=error)])
    found, state = store.read([failure_record(uuid), uuid])
    assert state is not None
    details = read_record(found, state.Error)
    assert details is not None
    assert details.exception_type == "ValueError"
    store.close()


#: Bytes that each does not store under one UUID; None: it does, and gets a key of another type to refuse.
TOO_LARGE = {"memcache": 2 << 20, "mongodb": 17 << 20, "dynamodb": 1 << 20, "cluster": None}


@pytest.mark.parametrize("method", ["write", "write_unless_success"])
@pytest.mark.parametrize("name_of", [failure_record, celery_meta])
@pytest.mark.parametrize("backend", TOO_LARGE)
def test_a_state_is_stored_after_its_record(
    backend: str, name_of: Callable[[str], str], method: str, request: pytest.FixtureRequest
) -> None:
    """The record is refused, so that the state is not stored either, wherever it stands in the call."""
    url, size = request.getfixturevalue(f"{backend}_url"), TOO_LARGE[backend]
    store = open_backend(url, expire=60)
    uuid = f"task_{uuid4()}"
    record = TaskState(TaskUUID=name_of(uuid), State=FAILURE, Error="x" * (size or 0))
    if size is None:
        host, port = url.removeprefix("redis://").split(",")[0].split(":")
        with redis.RedisCluster(host, int(port)) as client:
            client.rpush(record.TaskUUID, "no state")
    with pytest.raises((BackendError, redis.ResponseError)):
        getattr(store, method)([TaskState(TaskUUID=uuid, State=FAILURE, Error="it"), record])
    assert store.read([uuid]) == [None]
    store.close()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "no JSON", '{"exception_type": 1}', '{"exception_type": "E"}']
)
def test_a_damaged_record_is_no_record(text: str) -> None:
    assert (
        read_record(TaskState(TaskUUID=failure_record("task_x"), State=FAILURE, Error=text), "'id'") is None
    )
