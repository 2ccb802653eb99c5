"""Connection parameters and pools of a Redis channel: kombu's pools, over connections of ours."""

from __future__ import annotations

from typing import Any

from kombu.transport import redis as kombu_redis

from gearmesh.redis_client import connections
from gearmesh.redis_client.connection_settings import ConnectionSettings
from gearmesh.redis_client.wrong_type import TypeCheckingRedis

__all__ = ["ConnectedChannel"]

#: Parameters of a connection that one over a Unix socket does not know.
TCP_ONLY = ("socket_connect_timeout", "socket_keepalive", "socket_keepalive_options")


class ConnectedChannel(kombu_redis.Channel):  # type: ignore[misc]
    """kombu's Redis channel, over connections of ours; the base of :class:`~.channel.Channel`.

    Transport option ``access``: an :class:`~gearmesh.redis_client.connection_settings.ConnectionSettings`; None: a
    server where the connection's URL says.
    """

    connection_class = connections.Connection
    connection_class_ssl = connections.SSLConnection
    socket_timeout = 15.0
    socket_connect_timeout = 15.0
    socket_keepalive = True
    max_connections = 1000

    access: ConnectionSettings | None = None

    def _open(self) -> Any:
        """The client for all that does not block."""
        # One connection, kept: a pool looks at the socket before each command, and each look gives up the GIL.
        return TypeCheckingRedis(connection_pool=self.pool, single_connection_client=True)

    def socket_to(self, queue: str) -> Any:
        """The socket to the server of ``queue``: another object after each new connection, None without one."""
        return self.redis.connection._sock

    def wait_pool(self, queue: str) -> Any:
        """The pool of connections that wait for ``queue``."""
        return self.async_pool

    def _drop_kept(self) -> None:
        """Close the connection of :meth:`_open`."""
        self.redis.connection.disconnect()

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        params: dict[str, Any] = super()._connparams(asynchronous=asynchronous)
        # A Unix socket's path comes as the host; kombu knows one class of such connections, whatever the channel says.
        host = params.get("host") or ""
        if self.access is not None or host.startswith("/"):
            for name in ("host", "port"):
                params.pop(name, None)
            params |= {"path": host} if self.access is None else self.access.place()
        if "path" in params:
            for name in TCP_ONLY:
                params.pop(name, None)
            params["connection_class"] = connections.UnixConnection
        params["connection_class"] = self._watched(params["connection_class"], asynchronous)
        return params

    def _watched(self, kind: Any, watched: bool) -> Any:
        """A class of connections that tell kombu when one it polls was closed."""
        channel = self

        class Watched(kind):  # type: ignore[misc]
            def disconnect(self, *args: Any, **kwargs: Any) -> None:
                super().disconnect(*args, **kwargs)
                if channel._registered:
                    channel._on_connection_disconnect(self)

        return Watched if watched else kind
