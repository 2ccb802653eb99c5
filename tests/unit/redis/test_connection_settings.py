"""Options of connections, made from a URL and the settings of Redis."""

from __future__ import annotations

from typing import Any

import pytest

from gearmesh.config import RedisConfig
from gearmesh.errors import ConfigError
from gearmesh.redis_client import connections
from gearmesh.redis_client.cluster import Cluster
from gearmesh.redis_client.connection_settings import ConnectionSettings, hang_up
from gearmesh.urls import RedisTarget, parse


def access(url: str, **fields: Any) -> ConnectionSettings:
    target = parse(url)
    assert isinstance(target, RedisTarget)
    return ConnectionSettings(target, RedisConfig(**fields))


NODES = "redis://u:secret@one:1,two:2/3"


@pytest.mark.parametrize(
    ("url", "fields", "kind", "place"),
    [
        (
            "redis://u:secret@one:1/3", {"client_name": "me"}, connections.Connection,
            {"host": "one", "port": 1, "db": 3, "username": "u", "password": "secret", "client_name": "me"},
        ),
        (
            "redis://", {}, connections.Connection,
            {"host": "localhost", "port": 6379, "db": 0, "username": None, "password": None, "client_name": None},
        ),
        (
            "rediss://one:1", {"ca": "ca.pem"}, connections.SSLConnection,
            {"host": "one", "ssl_ca_certs": "ca.pem", "ssl_certfile": None, "ssl_keyfile": None},
        ),
        (
            "rediss://one:1", {"cert": "a.pem", "key": "b.pem"}, connections.SSLConnection,
            {"ssl_ca_certs": None, "ssl_certfile": "a.pem", "ssl_keyfile": "b.pem"},
        ),
        (
            "redis+socket://secret@/run/redis.sock:/2", {}, connections.UnixConnection,
            {"path": "/run/redis.sock", "db": 2, "password": "secret"},
        ),
        (NODES, {}, connections.NodeConnection, {"db": 0, "username": "u", "password": "secret"}),
        ("redis://one:1/3", {"cluster_enabled": True}, connections.NodeConnection, {"db": 0}),
        (NODES, {"cluster_enabled": True, "master_name": "m"}, connections.NodeConnection, {"db": 0}),
        ("rediss://one:1,two:2", {}, connections.SSLNodeConnection, {"ssl_ca_certs": None}),
        (NODES, {"master_name": "m"}, connections.SentinelConnection, {"db": 3, "password": "secret"}),
        ("rediss://one:1", {"master_name": "m"}, connections.SentinelSSLConnection, {"ssl_ca_certs": None}),
    ],
    ids=[
        "server", "defaults", "tls", "client certificate", "socket", "cluster", "cluster of one host",
        "cluster with a master's name", "cluster by tls", "sentinels", "sentinels by tls",
    ],
)  # fmt: skip
def test_a_place_has_its_kind_of_connection_and_its_arguments(
    url: str, fields: dict[str, Any], kind: type, place: dict[str, Any]
) -> None:
    options = access(url, **fields).options()
    assert options["connection_class"] is kind
    assert {name: options[name] for name in place} == place


@pytest.mark.parametrize("url", ["redis://one:1,two:2", "rediss://one:1,two:2"])
def test_the_options_for_a_cluster_leave_the_node_open(url: str) -> None:
    assert not access(url).options().keys() & {"host", "port", "path"}


def test_sentinels_have_a_password_and_a_limit_of_their_own() -> None:
    asked = access(
        "rediss://u:secret@one:1,two:2/3",
        master_name="m",
        sentinel_password="theirs",
        read_timeout=4,
        write_timeout=2,
        connect_timeout=1,
        ca="ca.pem",
    ).place()["sentinels"]
    assert (asked._addresses, asked._name) == (["one:1", "two:2"], "m")
    pool = asked._clients[1].connection_pool
    assert pool.connection_class is connections.SSLConnection
    options = pool.connection_kwargs
    assert (options["host"], options["port"]) == ("two", 2)
    assert (options["password"], options["ssl_ca_certs"]) == ("theirs", "ca.pem")
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (4, 1)
    assert "username" not in options
    assert "secret" not in repr(asked)


@pytest.mark.parametrize(
    ("fields", "answer", "connect"),
    [
        ({}, 15, 15),
        ({"read_timeout": 3, "write_timeout": 5}, 5, 15),
        ({"read_timeout": 0, "write_timeout": 5}, None, 15),
        ({"connect_timeout": 0}, 15, None),
    ],
)
def test_zero_is_no_limit_and_the_longer_limit_counts(
    fields: dict[str, Any], answer: float | None, connect: float | None
) -> None:
    options = access("redis://", **fields).options()
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (answer, connect)


def test_a_socket_has_no_options_of_tcp() -> None:
    options = access("redis+socket:///run/redis.sock").options()
    assert not options.keys() & {"socket_keepalive", "socket_connect_timeout", "host", "port"}
    assert access("redis://").options()["socket_keepalive"] is True


@pytest.mark.parametrize("url", ["redis://", "redis+socket:///run/redis.sock", NODES])
def test_no_connection_repeats_a_command(url: str) -> None:
    """A fetch that is repeated under the same numbers would overwrite the messages of the first one."""
    assert access(url).options()["retry"]._retries == 0


def test_a_socket_leads_to_one_server() -> None:
    for field in ({"master_name": "m"}, {"cluster_enabled": True}):
        with pytest.raises(ConfigError, match="leads to one server"):
            access("redis+socket:///run/redis.sock", **field)


def test_a_client_connects_only_when_it_is_used() -> None:
    """Nothing listens at port 1."""
    for url, kind in (("redis://127.0.0.1:1/3", object), ("redis://127.0.0.1:1,127.0.0.1:2", Cluster)):
        client = access(url).client()
        assert isinstance(client, kind)
        hang_up(client)


def test_replicas_are_those_of_the_settings() -> None:
    assert access("redis://").replicas == (0, 1.0)
    assert access("redis://", replicas_ack=2, replicas_ack_timeout=0.5).replicas == (2, 0.5)


def test_a_representation_shows_no_password() -> None:
    shown = repr(access("redis://u:secret@one:1", sentinel_password="theirs"))
    assert "secret" not in shown
    assert "theirs" not in shown
