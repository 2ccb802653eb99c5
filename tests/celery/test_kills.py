"""Celery workers are killed, and Redis or RabbitMQ stops: the tasks that are lost, and those that must not be."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from tests.support.servers import RabbitServer, RedisServer

from gearmesh.testing.waiting import eventually

from .processes import CeleryProcess
from .project import make_app

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

MANY, PROCESSES = 150, 2
LATE = {"PROJECT_LATE": "1", "PROJECT_LEASE": "2"}
EARLY = {"PROJECT_LEASE": "2"}


@pytest.fixture
def store(fresh_redis: Callable[[], str]) -> str:
    """A Redis where tasks note that they were run, never the broker; beside RabbitMQ it has the results, too."""
    return fresh_redis()


@pytest.fixture
def notes(store: str) -> Iterator[Any]:
    """A client of it."""
    with redis.Redis.from_url(store) as client:
        yield client


@pytest.fixture(params=["redis", "amqp"])
def broker(request: pytest.FixtureRequest, fresh_redis: Callable[[], str]) -> str:
    """The URL of an unused broker."""
    return fresh_redis() if request.param == "redis" else str(request.getfixturevalue("amqp_url"))


class Load:
    """Tasks that note their number."""

    def __init__(self, broker: str, notes: Any, store: str, key: str, backend: str = "") -> None:
        self._notes, self._key = notes, key
        app = make_app(broker, backend or store)
        for number in range(MANY):
            app.send_task("mark", (store, key, number, 0.03))
        app.close()

    def done(self) -> int:
        return int(self._notes.scard(self._key))

    def all_done(self, timeout: float = 60.0) -> None:
        eventually(lambda: self.done() == MANY, timeout, f"{MANY} tasks (there were {self.done()})")


def worker(broker: str, store: str, env: dict[str, str], pool: str = "prefork") -> CeleryProcess:
    words = ("worker", "-P", pool, "-c", str(PROCESSES), "-l", "warning")
    return CeleryProcess(*words, broker=broker, backend=store, env=env, ready="celery@")


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_the_main_process_is_killed(broker: str, store: str, notes: Any, key: str, pool: str) -> None:
    load = Load(broker, notes, store, key)
    with worker(broker, store, LATE, pool) as first:
        eventually(lambda: load.done() > 20)
        first.kill()
    with worker(broker, store, LATE, pool):
        load.all_done()


def test_a_pool_child_is_killed(broker: str, store: str, notes: Any, key: str) -> None:
    load = Load(broker, notes, store, key)
    with worker(broker, store, LATE) as only:
        for more in (20, 40, 60):
            eventually(lambda more=more: load.done() > more)
            os.kill(eventually(only.children)[0], signal.SIGKILL)
        load.all_done()


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_redis_is_restarted(
    make_redis: Callable[..., RedisServer], store: str, notes: Any, key: str, how: str
) -> None:
    server = make_redis(aof="always")
    load = Load(server.url, notes, store, key, server.url)
    with worker(server.url, server.url, LATE):
        eventually(lambda: load.done() > 20)
        server.kill() if how == "kill" else server.stop()
        time.sleep(1.0)
        server.restart()
        load.all_done()


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_rabbitmq_is_restarted(
    make_rabbitmq: Callable[..., RabbitServer], store: str, notes: Any, key: str, how: str
) -> None:
    """The worker's connection is a part of Celery's event loop there, and begins anew."""
    server = make_rabbitmq()
    load = Load(server.url, notes, store, key)
    with worker(server.url, store, LATE):
        eventually(lambda: load.done() > 20)
        server.kill() if how == "kill" else server.stop()
        before = load.done()
        server.restart()
        load.all_done()
    assert before < MANY  # else it came too late to matter


def test_with_celery_s_default_a_kill_loses_at_most_one_task_a_process(
    broker: str, store: str, notes: Any, key: str
) -> None:
    """Tasks are acknowledged when they begin, so a kill loses the running ones only: at most one for each process."""
    load = Load(broker, notes, store, key)
    with worker(broker, store, EARLY) as first:
        eventually(lambda: load.done() > 20)
        first.kill()
    with worker(broker, store, EARLY):
        # A task may be acknowledged and die before it has noted anything.
        eventually(lambda: load.done() >= MANY - 3 * PROCESSES, 60)
        time.sleep(2.0)  # for those that are still to come
    lost = MANY - load.done()
    print(f"lost with task_acks_late off: {lost} of {MANY}, {PROCESSES} processes")
    assert lost <= PROCESSES
