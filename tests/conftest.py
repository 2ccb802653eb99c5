"""Servers for every suite. A missing server skips its tests here, and fails them under CI=true."""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any, NoReturn

import pymongo
import pytest
import redis
from hypothesis import HealthCheck, settings
from pymemcache.client.base import Client
from tests.account import Account
from tests.shown import ADDRESS
from tests.support.dynamodb_tables import Tables
from tests.support.servers import (
    Certificates,
    DynamoDBServer,
    ElasticMQServer,
    MemcachedServer,
    MongoServer,
    PubSubServer,
    RabbitServer,
    RedisCluster,
    RedisSentinels,
    RedisServer,
    ServerMissing,
)

from gearmesh.testing.proxy import Proxy


def pytest_configure(config: pytest.Config) -> None:
    """Processes under test start as fast as users' do: from bytecode, of which nothing stays in the tree.

    Hypothesis judges values, not the speed of a machine that other tests share.
    """
    settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("shared machine")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if "PYTHONPYCACHEPREFIX" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="gearmesh-bytecode-", ignore_cleanup_errors=True)
        config.add_cleanup(folder.cleanup)
        os.environ["PYTHONPYCACHEPREFIX"] = folder.name
    # A shell has its background jobs ignore Ctrl-C, nohup the end of the terminal: processes under test would, too.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    Account.of(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names that differ from process to process: ``pytest -n`` would report them with less reason."""
    for item in items:
        if ADDRESS.search(item.nodeid):
            raise pytest.UsageError(
                f"{item.nodeid} shows an address; name its cases with ids=tests.shown.shown"
            )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """``pytest -n`` distributes groups of tests, see ``tests/groups.py``; ``--dist`` chooses another way."""
    if config.getvalue("dist") != "load":
        return None
    from tests.groups import Groups

    return Groups(config, log)


def missing(reason: ServerMissing) -> NoReturn:
    """Skip for want of a server; fail where there must be one."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, but {reason}", pytrace=False)
    pytest.skip(str(reason))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis for the whole run; leave it running and unpaused."""
    try:
        server = RedisServer()
    except ServerMissing as reason:
        missing(reason)
    with server:
        yield server


@pytest.fixture(scope="session")
def redis_dbs() -> Iterator[int]:
    """Database numbers in turn, so that a late thread of one test does not meet the next."""
    return itertools.cycle(range(16))


@pytest.fixture
def redis_url(redis_server: RedisServer, redis_dbs: Iterator[int]) -> str:
    """The URL of an empty database of the run's Redis."""
    db = next(redis_dbs)
    with redis.Redis(host="127.0.0.1", port=redis_server.port, db=db) as client:
        client.flushdb()
    return redis_server.url_of(db)


@pytest.fixture
def make_redis() -> Iterator[Callable[..., RedisServer]]:
    """Start a Redis of the test's own, with RedisServer's arguments: to kill, pause or restart."""
    with ExitStack() as stack:

        def make(**options: Any) -> RedisServer:
            try:
                server = RedisServer(**options)
            except ServerMissing as reason:
                missing(reason)
            return stack.enter_context(server)

        yield make


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """Six nodes for the whole run, started by the first test that asks; leave them running and unpaused."""
    try:
        cluster = RedisCluster()
    except ServerMissing as reason:
        missing(reason)
    with cluster:
        yield cluster


@pytest.fixture
def cluster_url(redis_cluster: RedisCluster) -> str:
    """The URL of the run's cluster, emptied."""
    redis_cluster.flush()
    return redis_cluster.url


@pytest.fixture(scope="session")
def redis_sentinels() -> Iterator[RedisSentinels]:
    """A master, a replica and three sentinels for the whole run, with a password; leave them as they are."""
    try:
        group = RedisSentinels(password="sesame", down_after=15.0)
    except ServerMissing as reason:
        missing(reason)
    with group:
        yield group


@pytest.fixture
def make_sentinels() -> Iterator[Callable[..., RedisSentinels]]:
    """Start sentinels and their servers of the test's own (2 s), with RedisSentinels' arguments: to fail over."""
    with ExitStack() as stack:

        def make(**options: Any) -> RedisSentinels:
            try:
                group = RedisSentinels(**options)
            except ServerMissing as reason:
                missing(reason)
            return stack.enter_context(group)

        yield make


@pytest.fixture
def make_cluster() -> Iterator[Callable[..., RedisCluster]]:
    """Start a cluster of the test's own (3 s), with RedisCluster's arguments: to kill nodes, or move slots."""
    with ExitStack() as stack:

        def make(**options: Any) -> RedisCluster:
            try:
                cluster = RedisCluster(**options)
            except ServerMissing as reason:
                missing(reason)
            return stack.enter_context(cluster)

        yield make


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A certificate authority, and the certificates that it has signed."""
    try:
        return Certificates.make(tmp_path_factory.mktemp("certificates"))
    except ServerMissing as reason:
        missing(reason)


@pytest.fixture(scope="session")
def tls_server(certificates: Certificates) -> Iterator[RedisServer]:
    """A Redis that speaks TLS only, and wants to see a client's certificate."""
    try:
        server = RedisServer(tls=certificates)
    except ServerMissing as reason:
        missing(reason)
    with server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitServer]:
    """One RabbitMQ for the whole run, started by the first test that asks; leave it running and unpaused."""
    try:
        server = RabbitServer()
    except ServerMissing as reason:
        missing(reason)
    with server:
        yield server


@pytest.fixture
def amqp_url(rabbitmq_server: RabbitServer) -> Iterator[str]:
    """The URL of a vhost of the test's own, deleted behind it."""
    vhost = rabbitmq_server.vhost()
    yield rabbitmq_server.url_of(vhost)
    rabbitmq_server.drop_vhost(vhost)


@pytest.fixture
def make_rabbitmq() -> Iterator[Callable[..., RabbitServer]]:
    """Start a RabbitMQ of the test's own (15 s), with RabbitServer's arguments: to kill, pause or restart."""
    with ExitStack() as stack:

        def make(**options: Any) -> RabbitServer:
            try:
                server = RabbitServer(**options)
            except ServerMissing as reason:
                missing(reason)
            return stack.enter_context(server)

        yield make


@pytest.fixture(scope="session")
def memcached_servers() -> Iterator[list[MemcachedServer]]:
    """Three memcached for the whole run; leave them running and unpaused."""
    with ExitStack() as stack:
        try:
            servers = [MemcachedServer() for _ in range(3)]
        except ServerMissing as reason:
            missing(reason)
        yield [stack.enter_context(server) for server in servers]


@pytest.fixture
def memcache_url(memcached_servers: list[MemcachedServer]) -> str:
    """The URL of the run's three memcached, emptied."""
    for server in memcached_servers:
        with closing(Client(("127.0.0.1", server.port))) as client:
            client.flush_all(noreply=False)
    return f"memcache://{','.join(server.address for server in memcached_servers)}"


@pytest.fixture
def make_memcached() -> Iterator[Callable[..., MemcachedServer]]:
    """Start a memcached of the test's own, with MemcachedServer's arguments: to kill, pause or restart."""
    with ExitStack() as stack:

        def make(**options: Any) -> MemcachedServer:
            try:
                server = MemcachedServer(**options)
            except ServerMissing as reason:
                missing(reason)
            return stack.enter_context(server)

        yield make


@pytest.fixture(scope="session")
def mongodb_server() -> Iterator[MongoServer]:
    """One MongoDB for the whole run, which wants a password; leave it running and unpaused."""
    try:
        server = MongoServer(user="gear", password="a p@ss/word:%41")
    except ServerMissing as reason:
        missing(reason)
    with server:
        yield server


@pytest.fixture
def mongodb_url(mongodb_server: MongoServer) -> Iterator[str]:
    """The URL of a database of the test's own, deleted behind it."""
    name = f"test_{uuid.uuid4().hex}"
    # Not waiting for the disk: no test kills this server.
    yield f"{mongodb_server.url}/?journal=false&database={name}"
    with pymongo.MongoClient[dict[str, Any]](mongodb_server.url) as client:
        client.drop_database(name)


@pytest.fixture
def make_mongodb() -> Iterator[Callable[..., MongoServer]]:
    """Start a MongoDB of the test's own, with MongoServer's arguments: to kill, pause or restart."""
    with ExitStack() as stack:

        def make(**options: Any) -> MongoServer:
            try:
                server = MongoServer(**options)
            except ServerMissing as reason:
                missing(reason)
            return stack.enter_context(server)

        yield make


@pytest.fixture
def make_proxy() -> Iterator[Callable[..., Proxy]]:
    """Start a TCP proxy, with Proxy's arguments."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(Proxy(*args, **options))


@pytest.fixture(scope="session")
def aws_environment() -> Iterator[None]:
    """Credentials and a region that the emulators accept, and no file of the user's that says otherwise."""
    names = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    files = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (names | files | {"AWS_EC2_METADATA_DISABLED": "true"}).items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def elasticmq(aws_environment: None) -> Iterator[ElasticMQServer]:
    """One SQS for the whole run, started by the first test that asks; leave it running and unpaused."""
    try:
        server = ElasticMQServer()
    except ServerMissing as reason:
        missing(reason)
    with server:
        yield server


@pytest.fixture
def make_elasticmq(aws_environment: None) -> Iterator[Callable[..., ElasticMQServer]]:
    """Start an SQS of the test's own (2 s), with ElasticMQServer's arguments: to kill, pause or restart."""
    with ExitStack() as stack:

        def make(**options: Any) -> ElasticMQServer:
            try:
                server = ElasticMQServer(**options)
            except ServerMissing as reason:
                missing(reason)
            return stack.enter_context(server)

        yield make


@pytest.fixture(scope="session")
def dynamodb_local(aws_environment: None) -> Iterator[DynamoDBServer]:
    """One DynamoDB for the whole run, started by the first test that asks; leave it running and unpaused."""
    try:
        server = DynamoDBServer()
    except ServerMissing as reason:
        missing(reason)
    with server:
        yield server


@pytest.fixture
def make_dynamodb(aws_environment: None) -> Iterator[Callable[..., DynamoDBServer]]:
    """Start a DynamoDB of the test's own (1 s), with DynamoDBServer's arguments: to kill, pause or restart."""
    with ExitStack() as stack:

        def make(**options: Any) -> DynamoDBServer:
            try:
                server = DynamoDBServer(**options)
            except ServerMissing as reason:
                missing(reason)
            return stack.enter_context(server)

        yield make


@pytest.fixture
def dynamodb(dynamodb_local: DynamoDBServer) -> Iterator[Tables]:
    """Two tables of the test's own, deleted behind it."""
    tables = Tables.named(dynamodb_local)
    tables.make()
    yield tables
    tables.delete()


@pytest.fixture
def dynamodb_url(dynamodb_local: DynamoDBServer) -> str:
    """The URL of a DynamoDB with empty tables of the usual names."""
    tables = Tables.named(dynamodb_local, "task_states", "group_metas")
    tables.delete()
    tables.make()
    return tables.url


@pytest.fixture(scope="session")
def pubsub_emulator() -> Iterator[PubSubServer]:
    """One Pub/Sub for the whole run, started by the first test that asks; leave it running and unpaused."""
    try:
        server = PubSubServer()
    except ServerMissing as reason:
        missing(reason)
    with server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBSUB_EMULATOR_HOST", server.address)
        yield server


@pytest.fixture
def make_pubsub() -> Iterator[Callable[..., PubSubServer]]:
    """Start a Pub/Sub of the test's own, with PubSubServer's arguments: to kill, pause or restart."""
    with ExitStack() as stack:

        def make(**options: Any) -> PubSubServer:
            try:
                server = PubSubServer(**options)
            except ServerMissing as reason:
                missing(reason)
            return stack.enter_context(server)

        yield make
