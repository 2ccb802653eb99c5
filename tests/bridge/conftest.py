"""A Celery worker and a peer in Go's place, shared by all tests of one database."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from celery import Celery

from gearmesh.testing.peerproc import PeerProcess, python_peer
from gearmesh.testing.servers import RabbitServer, RedisServer

from .processes import CeleryProcess
from .project import GO_QUEUE, GO_TASKS, make_app

PEER = shlex.split(os.environ.get("GEARMESH_PEER", ""))
LONG = os.environ.get("GEARMESH_CELERY") == "long"


@dataclass(frozen=True)
class Way:
    """Who is at the two ends, and what is between them."""

    pool: str
    go: bool
    broker: str

    def __str__(self) -> str:
        return f"{self.broker}-{self.pool}-{'go' if self.go else 'python'}"


#: One way in the normal suite; all of them, with a Go peer where there is one, in the long one.
WAYS = [
    Way(pool, go, broker)
    for broker in (("redis", "amqp") if LONG else ("redis",))
    for go in ((False, True) if PEER and LONG else (False,))
    for pool in (("threads", "prefork") if LONG else ("threads",))
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is marked slow belongs to ``tox -e celery``."""
    if not LONG:
        for item in items:
            if "tests/bridge" in item.path.as_posix() and item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="GEARMESH_CELERY=long runs it"))


@dataclass(frozen=True)
class Place:
    """A broker with a Celery worker and a peer. ``store``: the URL of a Redis for what tasks note."""

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


@pytest.fixture(scope="session", params=WAYS, ids=str)
def place(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Place]:
    """One for the run, for each way."""
    way: Way = request.param
    store = redis_server.url_of(8 + request.param_index % 8)
    with redis.Redis.from_url(store) as client:
        client.flushdb()
    if way.broker == "redis":
        yield from _place(way, store, store)
        return
    rabbit: RabbitServer = request.getfixturevalue("rabbitmq_server")
    vhost = rabbit.vhost()
    yield from _place(way, rabbit.url_of(vhost), store)
    rabbit.drop_vhost(vhost)


def _place(way: Way, url: str, store: str) -> Iterator[Place]:
    flags = ["-mode", "both", "-broker", url, "-backend", store, "-queue", GO_QUEUE]
    flags += ["-log", "error"] if way.go else ["-only", ",".join(GO_TASKS)]
    words = ("worker", "-P", way.pool, "-c", "4", "-l", "info")
    with (
        PeerProcess([*PEER, *flags] if way.go else python_peer(*flags)) as peer,
        CeleryProcess(*words, broker=url, backend=store),
    ):
        app = make_app(url, store)
        yield Place(url, store, app, peer, way)
        app.close()


@pytest.fixture
def on_redis(place: Place) -> None:
    """For tests that look into the broker."""
    if place.way.broker != "redis":
        pytest.skip("looks into Redis")


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A Redis key of the test's own."""
    return f"test:{request.node.name}:{os.urandom(4).hex()}"
