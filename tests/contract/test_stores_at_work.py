"""Whole workers whose results go to Memcache, MongoDB or DynamoDB while their messages go through Redis."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Iterator

import pytest
from tests.support.servers import MemcachedServer, MongoServer

from gearmesh import App, TaskFailed, chain, chord, group, types
from gearmesh.app.context import current
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import connect
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, STARTED, SUCCESS
from gearmesh.worker import Worker

STORES = ("memcache", "mongodb", "dynamodb")


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def make_app(redis_url: str) -> Iterator[Callable[[str], App]]:
    apps: list[App] = []

    def make(backend: str) -> App:
        app = App(broker=redis_url, backend=backend)
        apps.append(app)

        @app.task
        def add(*numbers: int) -> int:
            return sum(numbers)

        @app.task
        def large() -> types.Uint64:
            return 2**64 - 1

        @app.task
        def large_sum(*numbers: types.Uint64) -> str:
            return str(sum(numbers))

        @app.task
        def long_text(size: int) -> str:
            return "x" * size

        @app.task
        def join(*parts: str) -> str:
            return "".join(parts)

        return app

    yield make
    for app in apps:
        app.close()


def dead_letters(app: App) -> list[str]:
    with connect(app.config) as connection:
        return [letter.reason for letter in connection.channel().dead_letters(app.default_queue)]


# --- the same on both -----------------------------------------------------------------------------


def test_calls_chains_groups_and_chords_work_on_each_store(
    make_app: Callable[[str], App], store_url: str
) -> None:
    app = make_app(store_url)
    add, join = app.tasks["add"], app.tasks["join"]
    with Worker(app, concurrency=4):
        assert add.delay(1, 2).get(timeout=10) == 3
        assert chain(add.s(1, 2), add.s(10)).apply_async().get(timeout=10) == 13
        assert group([add.s(n) for n in range(10)]).apply_async().get(timeout=10) == list(range(10))
        letters = "abcdefghij"
        ordered = chord([join.s(letter) for letter in letters], join.s()).apply_async()
        assert ordered.get(timeout=10) == letters, "in the order of the members"
        many = chord([add.s(n) for n in range(300)], add.s()).apply_async()
        assert many.get(timeout=20) == sum(range(300))


def test_long_tasks_are_seen_and_tell_how_far_they_are(
    make_app: Callable[[str], App], store_url: str
) -> None:
    app = make_app(store_url)
    go_on = threading.Event()

    @app.task
    def slow() -> int:
        current().progress(1, 4, "begun")
        go_on.wait(20)
        return 1

    with Worker(app, concurrency=2):
        result = slow.delay()
        eventually(lambda: (state := app.states([result.uuid])[0]) and state.State == STARTED)
        progress = eventually(lambda: app.reports([result.uuid])[0])
        assert (progress.done, progress.total, progress.note) == (1, 4, "begun")
        go_on.set()
        assert result.get(timeout=10) == 1


def test_a_call_is_queued_once(make_app: Callable[[str], App], store_url: str) -> None:
    app = make_app(store_url)

    @app.task(unique_for=60)
    def once(word: str) -> str:
        return word

    first, second, other = once.delay("a"), once.delay("a"), once.delay("b")
    assert first.uuid == second.uuid != other.uuid
    with Worker(app, concurrency=2):
        assert (second.get(timeout=10), other.get(timeout=10)) == ("a", "b")


# --- results that can't be stored -----------------------------------------------------------------


def test_a_uint64_that_mongodb_has_not_is_a_failure(make_app: Callable[[str], App], mongodb_url: str) -> None:
    """Go leaves such a task STARTED, and stops a v2 worker for good."""
    app = make_app(mongodb_url)
    large, add = app.tasks["large"], app.tasks["add"]
    with Worker(app, concurrency=4):
        results = app.publish_many([large.s(), *(add.s(n) for n in range(20))])
        with pytest.raises(TaskFailed, match="can't be stored: 18446744073709551615 is uint64") as failed:
            results[0].get(timeout=10)
        assert "return it as a string" in failed.value.error
        assert [result.get(timeout=10) for result in results[1:]] == list(range(20)), "the others go on"
        (state,) = app.states([results[0].uuid])
        assert state is not None
        assert (state.State, state.TaskName, state.Results) == (FAILURE, "large", None)
        member = chord([large.s(), large.s()], app.tasks["large_sum"].s()).apply_async()
        with pytest.raises(TaskFailed, match="can't be stored"):
            member.get(timeout=10)
        assert add.delay(2).get(timeout=10) == 2
    assert dead_letters(app) == []
    with connect(app.config) as connection:
        assert connection.channel().pending(app.default_queue) == []


def test_a_result_that_is_too_large_for_memcached_is_a_failure(
    make_app: Callable[[str], App], memcache_url: str
) -> None:
    app = make_app(memcache_url)
    long_text, add = app.tasks["long_text"], app.tasks["add"]
    with Worker(app, concurrency=4):
        fits = long_text.delay(1_000_000)
        assert len(fits.get(timeout=10)) == 1_000_000
        results = app.publish_many([long_text.s(1 << 20), *(add.s(n) for n in range(20))])
        with pytest.raises(TaskFailed, match=r"can't be stored: .* bytes are more than memcached takes"):
            results[0].get(timeout=10)
        assert [result.get(timeout=10) for result in results[1:]] == list(range(20))
    assert dead_letters(app) == []


def test_a_uuid_that_memcached_does_not_take_is_a_dead_letter(
    make_app: Callable[[str], App], memcache_url: str
) -> None:
    """A foreign UUID is no valid key for a result or a failure: it becomes a dead letter, and the worker goes on."""
    app = make_app(memcache_url)
    foreign = Signature(UUID="a b", Name="add", RoutingKey=app.default_queue)
    with make_app("null") as other, Worker(app, concurrency=2):
        other.send(foreign)
        (reason,) = eventually(lambda: dead_letters(app))
        assert "memcached takes 1 to 250 bytes without spaces" in reason
        assert app.tasks["add"].delay(1).get(timeout=10) == 1


def test_an_eager_app_says_so_too(mongodb_url: str) -> None:
    with App(broker="eager", backend=mongodb_url) as app:

        @app.task
        def large() -> types.Uint64:
            return 2**64 - 1

        with pytest.raises(TaskFailed, match="MongoDB's integers end"):
            large.delay().get(timeout=5)


# --- revocations, on MongoDB ----------------------------------------------------------------------


def test_revoked_through_mongodb(make_app: Callable[[str], App], mongodb_url: str) -> None:
    app = make_app(mongodb_url)
    running = threading.Event()

    @app.task
    def endless() -> None:
        running.set()
        while True:
            time.sleep(0.01)

    with Worker(app, concurrency=1):
        result = endless.delay()
        waiting = app.tasks["add"].delay(1)
        assert running.wait(10)
        app.revoke(result.uuid, waiting.uuid)
        for each in (result, waiting):
            with pytest.raises(TaskFailed, match="revoked"):
                each.get(timeout=10)


# --- servers that go away while tasks run ---------------------------------------------------------


def test_a_memcached_that_dies_while_tasks_run(
    make_app: Callable[[str], App], make_memcached: Callable[..., MemcachedServer]
) -> None:
    """Results wait for their server, and no task is lost or buried."""
    servers = [make_memcached() for _ in range(3)]
    app = make_app(f"memcache://{','.join(server.address for server in servers)}")
    add = app.tasks["add"]
    results = app.publish_many([add.s(n) for n in range(50)])
    servers[1].kill()
    with Worker(app, concurrency=4):
        # The worker repeats a flush as a whole, and so writes some states twice.
        time.sleep(0.2)
        servers[1].start()
        uuids = [result.uuid for result in results]
        on_it = [uuid for uuid in uuids if zlib.crc32(uuid.encode()) % 3 == 1]
        assert on_it
        eventually(lambda: [state and state.State for state in app.states(uuids)] == [SUCCESS] * 50)
    assert dead_letters(app) == []


def test_a_mongodb_that_dies_while_tasks_run(
    make_app: Callable[[str], App], make_mongodb: Callable[..., MongoServer]
) -> None:
    server = make_mongodb()
    app = make_app(f"{server.url}/?serverSelectionTimeoutMS=300")
    add = app.tasks["add"]
    results = app.publish_many([add.s(n) for n in range(50)])
    server.kill()
    with Worker(app, concurrency=4):
        server.start()
        assert [result.get(timeout=20) for result in results] == list(range(50))
    assert dead_letters(app) == []
