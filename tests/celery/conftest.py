"""A Celery worker and a peer in Go's place, shared by all tests of one database."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from celery import Celery
from tests.support.servers import MemcachedServer, MongoServer, RabbitServer, RedisServer

from gearmesh.celery.setup import bridge_of
from gearmesh.testing.peerproc import PeerProcess, python_peer
from gearmesh.wire.names import celery_meta

from .processes import CeleryProcess
from .project import GO_QUEUE, GO_TASKS, make_app

PEER = shlex.split(os.environ.get("GEARMESH_PEER", ""))
LONG = os.environ.get("GEARMESH_CELERY") == "long"
DATABASES = 128


@dataclass(frozen=True)
class Way:
    """The two ends, and the servers between them. ``backend``: where results are."""

    pool: str
    go: bool
    broker: str
    backend: str = "redis"

    def __str__(self) -> str:
        between = self.broker if self.backend == "redis" else f"{self.broker}+{self.backend}"
        return f"{between}-{self.pool}-{'go' if self.go else 'python'}"


#: The long form: every pool on every broker, and every other backend once; with a Go peer too, where there is one.
_PEERS = (False, True) if PEER and LONG else (False,)
WAYS = [
    Way(pool, go, broker)
    for broker in (("redis", "amqp") if LONG else ("redis",))
    for go in _PEERS
    for pool in (("threads", "prefork") if LONG else ("threads",))
]
#: Another result backend than Redis: in the short form for the tests marked ``backends`` only; RabbitMQ, where all is
#: slower, for those marked ``backends(rabbitmq=True)``.
STORES = [
    Way("threads", go, broker, backend)
    for broker, backend in (("redis", "memcache"), ("redis", "mongodb"), ("amqp", "amqp"))
    for go in _PEERS
]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tests marked slow, and most of those on another backend, to ``tox -e celery``."""
    if LONG:
        return
    dropped = []
    for item in items:
        if "tests/celery" not in item.path.as_posix():
            continue
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="GEARMESH_CELERY=long runs it"))
        params = getattr(item, "callspec", None) and item.callspec.params  # type: ignore[attr-defined]
        way = params.get("place") if params else None
        if way not in STORES:
            continue
        marked = item.get_closest_marker("backends")
        if marked is None or (way.backend == "amqp" and not marked.kwargs.get("rabbitmq")):
            dropped.append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in set(dropped)]


@dataclass(frozen=True)
class Place:
    """A broker with a Celery worker and a peer. ``store``: the URL of the Redis in which tasks leave notes."""

    url: str
    store: str
    app: Celery
    peer: PeerProcess
    way: Way

    def task(self, name: str, *args: Any, **options: Any) -> Any:
        """A signature by name, the project's or the peer's."""
        return self.app.signature(name, args=args, app=self.app, **options)

    def ask(self, **request: Any) -> dict[str, Any]:
        """Have the peer do something."""
        return self.peer.ask(**request)

    def redis(self) -> Any:
        """A client of the store (which is the broker's, too, if that is Redis)."""
        return redis.Redis.from_url(self.store)

    def kept(self, task_id: str) -> bool:
        """True if the result backend has anything of a task."""
        return any(bridge_of(self.app).backend.read([task_id, celery_meta(task_id)]))


@pytest.fixture(scope="session")
def bridge_redis(redis_server: RedisServer) -> Iterator[RedisServer]:
    """A Redis that no test flushes, with a database for each user. (Skips if the run has no Redis.)"""
    with RedisServer(args=["--databases", str(DATABASES)]) as server:
        yield server


@pytest.fixture(scope="session")
def fresh_redis(bridge_redis: RedisServer) -> Callable[[], str]:
    """Gives URLs of unused databases."""
    numbers = itertools.count()
    return lambda: bridge_redis.url_of(next(numbers))


@pytest.fixture(scope="session")
def broker_of(
    request: pytest.FixtureRequest, fresh_redis: Callable[[], str]
) -> Callable[[Way], tuple[str, str, str]]:
    """Gives the URLs of an unused broker, of its result backend, and of a Redis."""

    def make(way: Way) -> tuple[str, str, str]:
        store = fresh_redis()
        broker = store
        if way.broker == "amqp":
            rabbit: RabbitServer = request.getfixturevalue("rabbitmq_server")
            broker = rabbit.url_of(rabbit.vhost())
        return broker, _backend(request, way.backend, broker, store), store

    return make


def _backend(request: pytest.FixtureRequest, kind: str, broker: str, store: str) -> str:
    if kind == "memcache":
        servers: list[MemcachedServer] = request.getfixturevalue("memcached_servers")
        return f"memcache://{','.join(server.address for server in servers)}"
    if kind == "mongodb":
        mongodb: MongoServer = request.getfixturevalue("mongodb_server")
        return mongodb.url
    return broker if kind == "amqp" else store


@pytest.fixture(scope="session", params=[*WAYS, *STORES], ids=str)
def place(
    request: pytest.FixtureRequest, broker_of: Callable[[Way], tuple[str, str, str]]
) -> Iterator[Place]:
    """The place for each way, shared by the whole run."""
    way: Way = request.param
    url, backend, store = broker_of(way)
    flags = ["-mode", "both", "-broker", url, "-backend", backend, "-queue", GO_QUEUE]
    flags += ["-log", "error"] if way.go else ["-only", ",".join(GO_TASKS)]
    words = ("worker", "-P", way.pool, "-c", "4", "-l", "info")
    with (
        PeerProcess([*PEER, *flags] if way.go else python_peer(*flags)) as peer,
        CeleryProcess(*words, broker=url, backend=backend),
    ):
        app = make_app(url, backend)
        yield Place(url, store, app, peer, way)
        app.close()


@pytest.fixture
def on_redis(place: Place) -> None:
    """The place on Redis, for tests that look into the broker."""
    if place.way.broker != "redis":
        pytest.skip("looks into Redis")


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A Redis key of the test's own."""
    return f"test:{request.node.name}:{os.urandom(4).hex()}"
