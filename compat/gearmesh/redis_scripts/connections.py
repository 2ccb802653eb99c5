"""Redis connections that tell a server's condition from an error of ours.

A replica, a full, loading or busy server answers, but cannot do its work now: that is no different from a server that
is away, and callers wait and repeat. So these answers are raised as connection errors, which also drops the
connection: the next one may find the master.
"""

from __future__ import annotations

import re
from typing import Any, Final

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

__all__ = ["CONNECTION_ERRORS", "Connection", "SSLConnection", "ServerUnable", "UnixConnection", "pool"]


class ServerUnable(exceptions.ConnectionError):
    """The server answers, but cannot do its work now: try again later."""


#: What means "try again", here and in every caller.
CONNECTION_ERRORS: Final[tuple[type[BaseException], ...]] = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    OSError,
)

#: Error codes that tell of the server's condition. A command refused inside a script names its code anywhere.
_CONDITION = re.compile(r"\b(READONLY|OOM|MISCONF|LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|NOREPLICAS)\b")

#: redis-py takes the code off the text of those it has a class for.
_CONDITIONS: Final = (
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.MasterDownError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
)


class _Conditions:
    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        except exceptions.ResponseError as exc:
            if isinstance(exc, _CONDITIONS) or _CONDITION.search(str(exc)):
                raise ServerUnable(f"Redis cannot do its work now: {exc}") from exc
            raise


class Connection(_Conditions, redis.Connection):
    """TCP."""


class SSLConnection(_Conditions, redis.SSLConnection):
    """TLS."""


class UnixConnection(_Conditions, redis.UnixDomainSocketConnection):
    """A socket file."""


def pool(options: dict[str, Any]) -> redis.ConnectionPool:
    """A pool for the keyword arguments that ``redis.Redis`` takes. It never repeats a command by itself."""
    rest = dict(options)
    kind: Any = Connection
    defaults: dict[str, Any] = {
        "socket_timeout": 15.0,
        "socket_connect_timeout": 15.0,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "retry": Retry(NoBackoff(), 0),
    }
    if path := rest.pop("unix_socket_path", None):
        kind = UnixConnection
        rest["path"] = path
        del defaults["socket_connect_timeout"], defaults["socket_keepalive"]
    elif rest.pop("ssl", False):
        kind = SSLConnection
    return redis.ConnectionPool(connection_class=kind, **(defaults | rest))
