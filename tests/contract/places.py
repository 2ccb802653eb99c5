"""Redis as it may be deployed: each way to one, with the settings that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import kombu
import pytest
import redis
from tests.support.servers import Certificates, RedisCluster, RedisSentinels, RedisServer

from gearmesh import App
from gearmesh.backends.registry import open_backend
from gearmesh.config import Config, RedisConfig
from gearmesh.interfaces.backend import Backend
from gearmesh.transports.registry import open_connection

#: Names of the fixtures below; the run's plain Redis is nowhere among them.
PLACES = (
    "sentinel_place",
    "tls_place",
    "socket_place",
    "cluster_place",
    "tls_cluster_place",
    "tls_sentinel_place",
)


@dataclass(frozen=True)
class Place:
    """A way to a database that is empty."""

    url: str
    settings: RedisConfig = field(default_factory=RedisConfig)

    def app(self, **options: Any) -> App:
        return App(config=Config(broker=self.url, backend=self.url, redis=self.settings, **options))

    def connect(self, consumer: str | None = None, **options: Any) -> kombu.Connection:
        return open_connection(self.url, consumer=consumer, options={"redis": self.settings, **options})

    def backend(self, expire: int = 3600) -> Backend:
        return open_backend(self.url, expire=expire, options={"redis": self.settings})


def _tls(certificates: Certificates, **more: Any) -> RedisConfig:
    files = {"ca": certificates.ca, "cert": certificates.client, "key": certificates.client_key}
    return RedisConfig(**{name: str(path) for name, path in files.items()}, **more)


def _behind(sentinels: RedisSentinels) -> str:
    """A URL of one of the master's databases, emptied."""
    with sentinels.client(sentinels.master, db=3) as client:
        client.flushdb()
    return f"{sentinels.url}/3"


@pytest.fixture
def sentinel_place(redis_sentinels: RedisSentinels) -> Place:
    """Three sentinels, no password of theirs, one of the servers'."""
    return Place(_behind(redis_sentinels), RedisConfig(master_name=redis_sentinels.master_name))


@pytest.fixture
def tls_place(tls_server: RedisServer, certificates: Certificates) -> Place:
    """TLS, with a certificate of the client's."""
    with redis.Redis(port=tls_server.port, **certificates.redis) as client:
        client.flushall()
    return Place(tls_server.url, _tls(certificates))


@pytest.fixture
def socket_place(make_redis: Callable[..., RedisServer]) -> Place:
    """A Unix socket, and a password with a colon."""
    server = make_redis(unixsocket=True, args=["--requirepass", "a:b"])
    return Place(server.socket_url.replace("redis+socket://", "redis+socket://:a:b@"))


@pytest.fixture
def cluster_place(cluster_url: str) -> Place:
    """Six nodes."""
    return Place(cluster_url)


@pytest.fixture(scope="session")
def tls_cluster(certificates: Certificates) -> Iterator[RedisCluster]:
    """Six nodes that speak TLS, to each other, too."""
    with RedisCluster(tls=certificates) as cluster:
        yield cluster


@pytest.fixture
def tls_cluster_place(tls_cluster: RedisCluster, certificates: Certificates) -> Place:
    tls_cluster.flush()
    return Place(tls_cluster.url, _tls(certificates))


@pytest.fixture(scope="session")
def tls_sentinels(certificates: Certificates) -> Iterator[RedisSentinels]:
    """Servers and sentinels that speak TLS, and want passwords."""
    with RedisSentinels(
        tls=certificates, password="sesame", sentinel_password="quiet", down_after=15.0
    ) as group:
        yield group


@pytest.fixture
def tls_sentinel_place(tls_sentinels: RedisSentinels, certificates: Certificates) -> Place:
    settings = _tls(certificates, master_name=tls_sentinels.master_name, sentinel_password="quiet")
    return Place(_behind(tls_sentinels), settings)


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    """The one that a test is parametrized with, by its fixture's name."""
    chosen: Place = request.getfixturevalue(request.param)
    return chosen
