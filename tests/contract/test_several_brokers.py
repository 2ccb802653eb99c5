"""Several broker URLs, the first of them unreachable, or a replica, or back while a worker stays on the second."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner
from tests.support.servers import RedisServer, free_port

from gearmesh import App
from gearmesh.cli import main
from gearmesh.errors import PublishError
from gearmesh.testing.proxy import Proxy
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import connect
from gearmesh.worker.worker import Worker

TASKS = """
from gearmesh import App
app = App({broker!r}, {backend!r}, multiple_broker_separator=";", lock={backend!r})

@app.task
def add(a: int, b: int) -> int:
    return a + b

app.periodic("@every 1s", add.s(1, 2), name="sums")
"""

COMMANDS = (
    ("queues",),
    ("pending",),
    ("delayed",),
    ("dead", "list"),
    ("dead", "retry", "--reason", ""),
    ("dead", "drop", "--reason", "", "--yes"),
    ("purge", "--yes"),
    ("purge", "--delayed", "--dead", "--yes"),
    ("send", "add", "int64:1", "int64:2"),
)


@pytest.fixture(params=["redis", "amqp"])
def second(request: pytest.FixtureRequest) -> str:
    """The URL of a broker that can be reached."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def several(second: str) -> str:
    """Two URLs; no server listens at the first."""
    return f"{nobody_like(second)};{second}"


def nobody_like(url: str) -> str:
    return f"{url.partition('://')[0]}://127.0.0.1:{free_port()}/0"


@contextmanager
def at_work(app: App, **options: Any) -> Iterator[Worker]:
    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    with Worker(app, concurrency=1, **options) as worker:
        yield worker
    app.close()


def test_a_worker_and_its_callers(several: str, redis_url: str) -> None:
    # With publish_timeout=0 the app tries once, but at each broker.
    app = App(several, redis_url, multiple_broker_separator=";", publish_timeout=0)
    with at_work(app):
        assert app.tasks["add"].delay(1, 2).get(timeout=20) == 3


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command(several: str, redis_url: str, words: tuple[str, ...]) -> None:
    env = {"BROKER": several, "RESULT_BACKEND": redis_url, "MULTIPLE_BROKEN_SEPARATOR": ";"}
    result = CliRunner().invoke(main, words, env=env)
    # RabbitMQ itself refuses a command that it cannot answer.
    assert result.exit_code == 0 or result.output.startswith("error: RabbitMQ "), result.output


def test_all_are_unreachable(second: str) -> None:
    first, other = nobody_like(second), nobody_like(second)
    app = App(f"{first};{other}", multiple_broker_separator=";", publish_timeout=0)
    with pytest.raises(PublishError, match=rf"of {first}, {other} within"):
        app.remote("add").delay(1, 2)


def test_the_processes_of_a_worker(several: str, redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(TASKS.format(broker=several, backend=redis_url), "utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "gearmesh", "worker", "shop:app", "--with-scheduler", "-c", "1"]
    with (tmp_path / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stderr=log, env=environment)
    try:
        with redis.Redis.from_url(redis_url) as client:  # the scheduler's task has run
            eventually(lambda: any(b"SUCCESS" in client.get(key) for key in client.keys("task_*")))
    finally:
        process.terminate()
        assert process.wait(20) == 0, (tmp_path / "log").read_text("utf-8")


def test_the_worker_settles_messages_on_the_broker_that_gave_them(
    make_redis: Callable[..., RedisServer], make_proxy: Callable[..., Proxy], redis_url: str
) -> None:
    """The first broker comes back, and connections of the worker break: it stays on the second as a whole."""
    first, second = RedisServer(), make_redis()
    proxy = make_proxy(second.port)
    behind = f"redis://127.0.0.1:{proxy.port}/0"
    app = App(f"{first.url};{behind}", redis_url, multiple_broker_separator=";")
    with at_work(app), first:
        proxy.cut()
        results = [app.tasks["add"].delay(n, n) for n in range(5)]
        assert [result.get(timeout=20) for result in results] == [0, 2, 4, 6, 8]
        with redis.Redis.from_url(first.url) as client:
            assert client.keys() == []
    with redis.Redis.from_url(second.url) as client:
        assert client.keys("*held*") == []


def test_the_first_dies_and_the_second_takes_over(
    make_redis: Callable[..., RedisServer], redis_url: str
) -> None:
    first, second = make_redis(), make_redis()
    app = App(f"{first.url};{second.url}", redis_url, multiple_broker_separator=";")
    with at_work(app):
        assert app.tasks["add"].delay(1, 2).get(timeout=20) == 3
        first.kill()
        assert app.tasks["add"].delay(2, 3).get(timeout=20) == 5


def test_a_replica_is_passed_over(make_redis: Callable[..., RedisServer], redis_url: str) -> None:
    master = make_redis()
    replica = make_redis(args=["--replicaof", "127.0.0.1", str(master.port)])
    app = App(f"{replica.url};{master.url}", redis_url, multiple_broker_separator=";")
    with at_work(app):
        assert app.tasks["add"].delay(1, 2).get(timeout=20) == 3
        # The two change places: the former master still answers, but refuses writes.
        with redis.Redis.from_url(replica.url) as client:
            client.replicaof("NO", "ONE")
        with redis.Redis.from_url(master.url) as client:
            client.replicaof("127.0.0.1", replica.port)
        assert app.tasks["add"].delay(2, 3).get(timeout=20) == 5


def test_it_says_which_one_it_uses(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    away = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    app = App(f"{away};{redis_url}", multiple_broker_separator=";")
    with connect(app.config, choice=app.broker_choice) as connection:
        connection.channel()
    with connect(app.config, choice=app.broker_choice) as connection:
        connection.channel()  # goes to the second at once
    (line,) = caplog.messages
    assert line.startswith(
        f"broker redis://***@{away.partition('@')[2]} is unreachable (Error 111 connecting"
    )
    assert line.endswith(f"; trying {redis_url}")
