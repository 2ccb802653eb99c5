"""``unique_for``: the same call is queued once."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from click.testing import CliRunner
from tests.support.servers import free_port

from gearmesh import App, TaskError
from gearmesh.cli import main
from gearmesh.errors import PublishError
from gearmesh.interfaces.commit import Commit, Settle
from gearmesh.transports.registry import open_connection
from gearmesh.worker import Worker


@pytest.fixture(params=["memory", "redis"])
def app(request: pytest.FixtureRequest) -> App:
    url = (
        f"memory://{uuid.uuid4().hex}" if request.param == "memory" else request.getfixturevalue("redis_url")
    )
    return App(broker=url, backend=url)


def waiting(app: App) -> int:
    with open_connection(app.config.broker) as connection:
        return len(connection.channel().pending(app.default_queue))


def test_the_second_call_gets_the_firsts_result(app: App) -> None:
    @app.task(unique_for=60)
    def add(a: int, b: int) -> int:
        return a + b

    first, second, other = add.delay(1, 2), add.delay(1, 2), add.delay(2, 1)
    assert first.uuid == second.uuid != other.uuid
    assert waiting(app) == 2
    app.close()


def test_the_claim_ends(app: App) -> None:
    @app.task(unique_for=0.05)
    def add(a: int) -> int:
        return a

    first = add.delay(1)
    while add.delay(1).uuid == first.uuid:
        pass
    assert waiting(app) == 2
    app.close()


def test_a_forgotten_call_can_be_sent_again(app: App) -> None:
    """This also holds for a call whose state has expired, since no caller could wait for it."""

    @app.task(unique_for=60)
    def add(a: int, b: int) -> int:
        return a + b

    first = add.delay(1, 2)
    first.forget()
    second = add.delay(1, 2)
    assert second.uuid != first.uuid
    assert (second.state, waiting(app)) == ("PENDING", 2)
    assert add.delay(1, 2).uuid == second.uuid, "the second call has the claim"
    app.close()


def test_a_holder_that_has_not_stored_its_state_yet(app: App) -> None:
    """The backend takes the holder for dead; when the holder goes on, it finds that out and sends nothing."""

    @app.task(unique_for=60)
    def add(a: int, b: int) -> int:
        return a + b

    claimed, go_on = threading.Event(), threading.Event()
    store = app._outbox.store_pending
    holders: list[str] = []

    def slowly(*args: Any) -> None:
        if threading.current_thread() is slow:
            claimed.set()
            assert go_on.wait(20)
        store(*args)

    app._outbox.store_pending = slowly  # type: ignore[method-assign]
    slow = threading.Thread(target=lambda: holders.append(add.delay(1, 2).uuid))
    slow.start()
    assert claimed.wait(20)
    second = add.delay(1, 2)
    go_on.set()
    slow.join(20)
    assert holders == [second.uuid]
    assert waiting(app) == 1
    app.close()


def test_many_callers_send_once(app: App) -> None:
    @app.task(unique_for=60)
    def add(a: int, b: int) -> int:
        return a + b

    gone = add.delay(1, 2)
    app.forget([gone.uuid])
    barrier = threading.Barrier(8)

    def call(_: int) -> str:
        barrier.wait(20)
        return add.delay(1, 2).uuid

    with ThreadPoolExecutor(8) as pool:
        uuids = set(pool.map(call, range(8)))
    assert len(uuids) == 1
    assert waiting(app) == 2, "the first one's message, and one more"
    app.close()


CALLS = {
    "purge": (("purge", "--yes"), {}),
    "purge --delayed": (("purge", "--delayed", "--yes"), {"countdown": 3600}),
    "purge --dead": (("purge", "--dead", "--yes"), {}),
    "dead drop": (("dead", "drop", "--reason", "", "--yes"), {}),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("broker", ["redis", "amqp"])
def test_a_deleted_call_can_be_sent_again(
    request: pytest.FixtureRequest, redis_url: str, broker: str, name: str
) -> None:
    words, options = CALLS[name]
    url = redis_url if broker == "redis" else request.getfixturevalue("amqp_url")
    env = {"BROKER": url, "RESULT_BACKEND": redis_url, "AMQP_DELAYED_QUEUE": "later"}
    app = App(url, redis_url, amqp={"delayed_queue": "later"})

    @app.task(unique_for=60)
    def add(a: int, b: int) -> int:
        return a + b

    first = add.apply_async((1, 2), **options)
    assert add.apply_async((1, 2), **options).uuid == first.uuid
    if "dead" in name:
        with open_connection(url) as connection:
            channel = connection.channel()
            delivery = channel.basic_get("machinery_tasks").delivery
            channel.commit([Commit(settle=Settle(delivery, "dead", "no"))])
    result = CliRunner().invoke(main, words, env=env)
    assert result.exit_code == 0, result.output
    second = add.apply_async((1, 2), **options)
    assert second.uuid != first.uuid
    if not options:
        with Worker(app, concurrency=1):
            assert second.get(timeout=20) == 3
    app.close()


def test_a_purge_without_its_result_backend(redis_url: str) -> None:
    with App(redis_url) as app:
        app.remote("add").delay()
    env = {"BROKER": redis_url, "RESULT_BACKEND": f"redis://127.0.0.1:{free_port()}/0"}
    result = CliRunner().invoke(main, ["purge", "--yes"], env=env)
    assert result.exit_code == 0, result.output
    assert "deleted from machinery_tasks: 1 pending" in result.output
    assert "tasks with unique_for cannot be sent again until unique_for ends" in result.output


def test_a_call_that_was_not_sent_claims_nothing(app: App) -> None:
    @app.task(unique_for=60)
    def add(a: int) -> int:
        return a

    refuse = True

    @app.before_publish
    def hook(sig: object) -> None:
        if refuse:
            raise PublishError("no")

    with pytest.raises(PublishError):
        add.delay(1)
    refuse = False
    add.delay(1)
    assert waiting(app) == 1
    app.close()


def test_without_a_backend_it_cannot_be() -> None:
    app = App(broker=f"memory://{uuid.uuid4().hex}", backend="null")

    @app.task(unique_for=60)
    def add(a: int) -> int:
        return a

    with pytest.raises(TaskError, match="unique_for"):
        add.delay(1)


@pytest.mark.parametrize("rate", ["", "5", "0/s", "5/d", 5, "-1/s", "x/s"])
def test_a_wrong_rate(rate: object) -> None:
    app = App(broker="memory://rates", backend="null")
    with pytest.raises(TaskError, match=r"task 'add', rate is .*expected"):
        app.task(name="add", rate=rate)(lambda: None)  # type: ignore[call-overload]
