"""One Redis behind sentinels, TLS, a Unix socket, and a user who may do only what is needed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import kombu
import pytest
import redis

from gearmesh import App, chain, chord, group
from gearmesh.backends.base import Backend
from gearmesh.backends.registry import open_backend as open_url
from gearmesh.config import Config, RedisConfig
from gearmesh.testing.contracts import BackendContract
from gearmesh.testing.contracts.delaying import Delaying
from gearmesh.testing.contracts.delivering import Delivering
from gearmesh.testing.contracts.fusing import Fusing
from gearmesh.testing.contracts.inspecting import Inspect
from gearmesh.testing.contracts.leasing import Leasing
from gearmesh.testing.contracts.settling import Settling
from gearmesh.testing.contracts.support import Connect
from gearmesh.testing.servers import Certificates, RedisSentinels, RedisServer
from gearmesh.transports.registry import open_connection
from gearmesh.worker import Worker

REDIS_MD = Path(__file__).parents[2] / "docs" / "redis.md"


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
        return open_url(self.url, expire=expire, options={"redis": self.settings})


def tasks(app: App) -> None:
    @app.task
    def add(*numbers: int) -> int:
        return sum(numbers)


@pytest.fixture
def sentinel_place(redis_sentinels: RedisSentinels) -> Place:
    with redis_sentinels.client(redis_sentinels.master, db=3) as client:
        client.flushdb()
    settings = RedisConfig(master_name=redis_sentinels.master_name)
    return Place(f"{redis_sentinels.url}/3", settings)


@pytest.fixture(scope="module")
def tls_server(certificates: Certificates) -> Iterator[tuple[RedisServer, int]]:
    """A server that speaks TLS only, and wants to see a client's certificate."""
    server = RedisServer(tls=certificates)
    with server:
        yield server


@pytest.fixture
def tls_place(tls_server: RedisServer, certificates: Certificates) -> Place:
    with redis.Redis(
        port=tls_server.port,
        ssl=True,
        ssl_ca_certs=str(certificates.ca),
        ssl_certfile=str(certificates.client),
        ssl_keyfile=str(certificates.client_key),
    ) as client:
        client.flushall()
    settings = RedisConfig(
        ca=str(certificates.ca), cert=str(certificates.client), key=str(certificates.client_key)
    )
    return Place(tls_server.url, settings)


@pytest.fixture
def socket_place(make_redis: Callable[..., RedisServer]) -> Place:
    server = make_redis(unixsocket=True, args=["--requirepass", "a:b"])
    return Place(server.socket_url.replace("redis+socket://", "redis+socket://a:b@").replace("a:b@", ":a:b@"))


class Short(Delivering, Fusing):
    """What shows that every kind of connection is made right: kept, blocking, subscribed, pooled."""

    @pytest.fixture
    def connect(self, place: Place) -> Connect:
        return place.connect

    @pytest.fixture
    def fusable(self, place: Place) -> Iterator[Backend]:
        backend = place.backend()
        yield backend
        backend.close()

    def test_at_work(self, place: Place) -> None:
        with place.app() as app:
            tasks(app)
            add = app.tasks["add"]
            with Worker(app, concurrency=4):
                assert add.delay(1, 2).get(timeout=10) == 3
                assert chain(add.s(1, 2), add.s(10)).apply_async().get(timeout=10) == 13
                results = group([add.s(n) for n in range(5)]).apply_async()
                assert results.get(timeout=10) == list(range(5))
                assert chord([add.s(n) for n in range(5)], add.s()).apply_async().get(timeout=10) == 10
                assert add.apply_async((4, 5), countdown=0.1).get(timeout=10) == 9


class TestSentinel(Short):
    @pytest.fixture
    def place(self, sentinel_place: Place) -> Place:
        return sentinel_place


class TestTLS(Short):
    @pytest.fixture
    def place(self, tls_place: Place) -> Place:
        return tls_place


class TestSocket(Short):
    @pytest.fixture
    def place(self, socket_place: Place) -> Place:
        return socket_place


# --- a user who may do only what is needed --------------------------------------------------------


def documented_rule() -> list[str]:
    """The command line of docs/redis.md that makes the user, without redis-cli."""
    (line,) = re.findall(r"^redis-cli (ACL SETUSER (?:.*\\\n)*.*)$", REDIS_MD.read_text(), re.MULTILINE)
    return shlex.split(line.replace("\\\n", " "))


@pytest.fixture(scope="module")
def acl_server() -> Iterator[RedisServer]:
    with (
        RedisServer(args=["--requirepass", "root"]) as server,
        redis.Redis(port=server.port, password="root") as client,
    ):
        rule = documented_rule()
        assert rule.count("~machinery_tasks") == 1
        rule[rule.index("~machinery_tasks")] = "~contract_*"
        client.execute_command(*rule)
        yield server


@pytest.fixture
def acl_place(acl_server: RedisServer) -> Iterator[Place]:
    with redis.Redis(port=acl_server.port, password="root") as client:
        client.flushall()
        client.acl_log_reset()
        yield Place(f"redis://gears:sesame@127.0.0.1:{acl_server.port}/1")
        refused = {(entry["context"], entry["reason"], entry["object"]) for entry in client.acl_log()}
        # Newer clients ask for subcommands of CLIENT that older servers do not have, and do without.
        assert refused - {("toplevel", "command", "client")} == set()


class TestACLTransport(Delivering, Settling, Delaying, Leasing, Fusing, Inspect):
    @pytest.fixture
    def connect(self, acl_place: Place) -> Connect:
        return acl_place.connect

    @pytest.fixture
    def fusable(self, acl_place: Place) -> Iterator[Backend]:
        backend = acl_place.backend()
        yield backend
        backend.close()


class TestACLBackend(BackendContract):
    @pytest.fixture
    def open_backend(self, acl_place: Place) -> Callable[..., Backend]:
        return acl_place.backend


def test_a_worker_under_the_rule(acl_place: Place) -> None:
    with acl_place.app(default_queue=f"contract_{uuid4().hex}") as app:
        tasks(app)
        add = app.tasks["add"]
        with Worker(app, concurrency=4):
            assert chord([add.s(n) for n in range(5)], add.s()).apply_async().get(timeout=10) == 10
            assert add.apply_async((4, 5), countdown=0.1).get(timeout=10) == 9
            app.check_backend()
