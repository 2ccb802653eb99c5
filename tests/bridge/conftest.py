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
from gearmesh.testing.servers import RedisServer

from .processes import CeleryProcess
from .project import GO_QUEUE, GO_TASKS, make_app

PEER = shlex.split(os.environ.get("GEARMESH_PEER", ""))
POOLS = ("prefork", "threads") if os.environ.get("GEARMESH_CELERY") == "long" else ("threads",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is marked slow belongs to ``tox -e celery``."""
    if os.environ.get("GEARMESH_CELERY") != "long":
        for item in items:
            if "tests/bridge" in item.path.as_posix() and item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="GEARMESH_CELERY=long runs it"))


@dataclass(frozen=True)
class Place:
    """A broker with a Celery worker and a peer."""

    url: str
    app: Celery
    peer: PeerProcess
    pool: str
    peer_is_go: bool

    def task(self, name: str, *args: Any, **options: Any) -> Any:
        """A signature by name, the project's or the peer's."""
        return self.app.signature(name, args=args, app=self.app, **options)

    def ask(self, **request: Any) -> dict[str, Any]:
        """Have the peer do something."""
        return self.peer.ask(**request)

    def redis(self) -> Any:
        """A client of the broker."""
        return redis.Redis.from_url(self.url)


@pytest.fixture(
    scope="session",
    params=[(pool, False) for pool in POOLS] + [(pool, True) for pool in POOLS if PEER],
    ids=lambda way: f"{way[0]}-{'go' if way[1] else 'python'}",
)
def place(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Place]:
    """One for the run, for each pool and each kind of peer."""
    pool, go = request.param
    db = 8 + request.param_index % 8
    url = redis_server.url_of(db)
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    flags = ["-mode", "both", "-broker", url, "-backend", url, "-queue", GO_QUEUE]
    flags += ["-only", ",".join(GO_TASKS)] if not go else ["-log", "error"]
    worker = CeleryProcess("worker", "-P", pool, "-c", "4", "-l", "info", broker=url)
    with PeerProcess([*PEER, *flags] if go else python_peer(*flags)) as peer, worker:
        app = make_app(url)
        yield Place(url, app, peer, pool, go)
        app.close()


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A Redis key of the test's own."""
    return f"test:{request.node.name}:{os.urandom(4).hex()}"
