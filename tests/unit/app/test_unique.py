"""``unique_for``: the same call is queued once."""

from __future__ import annotations

import uuid

import pytest

from gearmesh import App, TaskError
from gearmesh.errors import PublishError
from gearmesh.transports.registry import open_connection


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


def test_what_was_not_sent_claims_nothing(app: App) -> None:
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
