"""Combines a Redis URL and the settings, and makes connections, pools and clients from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gearmesh.config import RedisConfig
from gearmesh.redis_client import connections
from gearmesh.redis_client.cluster import Cluster
from gearmesh.redis_client.replicas import Replicas
from gearmesh.redis_client.sentinels import Sentinels
from gearmesh.redis_client.wrong_type import TypeCheckingRedis
from gearmesh.urls import RedisTarget
from gearmesh.urls.redis import Topology

__all__ = ["ConnectionSettings", "hang_up"]


#: Classes of connections without and with TLS.
_KINDS: dict[Topology, tuple[Any, Any]] = {
    "server": (connections.Connection, connections.SSLConnection),
    "cluster": (connections.NodeConnection, connections.SSLNodeConnection),
    "sentinel": (connections.SentinelConnection, connections.SentinelSSLConnection),
}


def hang_up(client: Any) -> None:
    """Close those connections of a client that no thread uses now."""
    if isinstance(client, Cluster):
        client.close()
    else:
        client.connection_pool.disconnect(inuse_connections=False)


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """The address of a Redis and the settings of connections to it.

    A client connects when it is first used, and never repeats a command by itself: a fetch that is repeated under the
    same numbers would overwrite the deliveries of the first one.

    Raises:
        ConfigError: URL and settings contradict each other.
    """

    target: RedisTarget
    settings: RedisConfig = field(default_factory=RedisConfig)

    def __post_init__(self) -> None:
        self.topology  # noqa: B018  # raises ConfigError

    @property
    def topology(self) -> Topology:
        """The kind of Redis at the address: a server, a cluster, or a master that sentinels name."""
        return self.target.topology(self.settings.master_name, self.settings.cluster_enabled)

    @property
    def db(self) -> int:
        """The number of the database; a cluster has only 0."""
        return 0 if self.topology == "cluster" else self.target.db

    @property
    def replicas(self) -> Replicas:
        """The replicas that a write waits for."""
        return Replicas(self.settings.replicas_ack, self.settings.replicas_ack_timeout)

    @property
    def timeouts(self) -> dict[str, Any]:
        """The timeouts as keyword arguments of a connection, in seconds."""
        both = {"socket_timeout": self.settings.socket_timeout}
        connect = {"socket_connect_timeout": self.settings.socket_connect_timeout}
        return both if self.target.path else both | connect

    def place(self) -> dict[str, Any]:
        """Return keyword arguments of a pool: its class of connections, address, TLS, user and client name.

        For a cluster, host and port are missing.
        """
        target, settings = self.target, self.settings
        place: dict[str, Any] = {
            "db": self.db,
            "username": target.username or None,
            "password": target.password or None,
            "client_name": settings.client_name or None,
        }
        if target.path:
            return place | {"connection_class": connections.UnixConnection, "path": target.path}
        if self.topology == "server":
            place |= {"host": target.host, "port": target.port}
        elif self.topology == "sentinel":
            place["sentinels"] = self._sentinels()
        return place | self._tls() | {"connection_class": _KINDS[self.topology][target.tls]}

    def options(self) -> dict[str, Any]:
        """Return all keyword arguments of a pool, see :meth:`place`."""
        options = {"health_check_interval": 25, "retry": Retry(NoBackoff(), 0)} | self.timeouts | self.place()
        return options if self.target.path else {"socket_keepalive": True} | options

    def client(self) -> Any:
        """Return a client for any number of threads: a ``redis.Redis``, or a :class:`~.cluster.Cluster`."""
        if self.topology == "cluster":
            return Cluster(self.target.nodes, self.options())
        return TypeCheckingRedis(connection_pool=redis.ConnectionPool(**self.options()))

    def _tls(self) -> dict[str, Any]:
        if not self.target.tls:
            return {}
        return {
            "ssl_ca_certs": self.settings.ca or None,
            "ssl_certfile": self.settings.cert or None,
            "ssl_keyfile": self.settings.key or None,
        }

    def _sentinels(self) -> Sentinels:
        kind = _KINDS["server"][self.target.tls]
        options = {"password": self.settings.sentinel_password or None, "retry": Retry(NoBackoff(), 0)}
        return Sentinels(
            self.target.nodes, self.settings.master_name, kind, options | self.timeouts | self._tls()
        )
