"""Reads the URL of a Redis in Machinery's forms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from gearmesh.errors import ConfigError
from gearmesh.urls.addresses import shown_address
from gearmesh.urls.given import GivenURL

__all__ = ["REDIS_SCHEMES", "RedisTarget", "Topology", "parse_redis"]

#: The kind of servers at an address: one server, the sentinels that know its master, or nodes of a cluster.
Topology = Literal["server", "sentinel", "cluster"]

REDIS_SCHEMES: Final = ("redis", "rediss", "redis+socket")
_PORT: Final = 6379


@dataclass(frozen=True, slots=True)
class RedisTarget:
    """The address and login of a Redis: of one server, or of the first of several cluster nodes or sentinels.

    Attributes:
        host: name or address; ``""`` if ``path`` is set.
        port: TCP port; 0 if ``path`` is set.
        db: database number.
        username: ACL user; ``""``: the default user. Left out of ``repr``, as ``redact`` does.
        password: the password; ``""``: there is none. Left out of ``repr``.
        tls: the connection is TLS, with the system's certificates (``rediss://``).
        path: the path of a Unix socket; ``""``: the connection is TCP.
        others: further hosts and their ports, which are cluster nodes or sentinels.
    """

    host: str = "localhost"
    port: int = 6379
    db: int = 0
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    tls: bool = False
    path: str = ""
    others: tuple[tuple[str, int], ...] = ()

    @property
    def nodes(self) -> tuple[tuple[str, int], ...]:
        """All hosts with their ports; none for a Unix socket."""
        return () if self.path else ((self.host, self.port), *self.others)

    @property
    def shown(self) -> str:
        """The address for people: ``host:port,host:port``, or a Unix socket's path."""
        return self.path or ",".join(shown_address(host, port) for host, port in self.nodes)

    def topology(self, master_name: str = "", cluster_enabled: bool = False) -> Topology:
        """Return the kind of servers at the address, by the settings of these names.

        Go: with a master's name the hosts are sentinels, unless ``cluster_enabled`` is set. Several hosts without a
        master's name are a cluster. A cluster has no databases, so the number in the URL is ignored.

        Raises:
            ConfigError: the settings contradict the URL.
        """

        if self.path and (master_name or cluster_enabled):
            name = "cluster_enabled" if cluster_enabled else "master_name"
            raise ConfigError(f"redis {self.shown}: {name} is set, but a Unix socket leads to one server")
        if master_name and not cluster_enabled:
            return "sentinel"
        if not cluster_enabled and not self.others:
            return "server"
        return "cluster"

    def to_kombu(self) -> dict[str, Any]:
        """Return keyword arguments of ``kombu.Connection``, without ``transport``.

        A Unix socket is a hostname that starts with ``/``; the database is the virtual host.
        """
        return {
            "hostname": self.path or self.host,
            "port": self.port or None,
            "userid": self.username or None,
            "password": self.password or None,
            "virtual_host": str(self.db),
            "ssl": self.tls,
        }

    def to_redis_kwargs(self) -> dict[str, Any]:
        """Return keyword arguments of ``redis.Redis`` (and of ``redis.asyncio.Redis``) for the first host."""
        login = {"username": self.username, "password": self.password, "ssl": self.tls}
        place = {"unix_socket_path": self.path} if self.path else {"host": self.host, "port": self.port}
        return {"db": self.db, **place, **{name: value for name, value in login.items() if value}}


def parse_redis(given: GivenURL) -> RedisTarget:
    """Read a URL with one of :data:`REDIS_SCHEMES`. Raises ConfigError."""
    if given.scheme == "redis+socket":
        return _parse_socket(given)
    return _parse_several(given) if "," in given.rest else _parse_tcp(given)


def _parse_tcp(given: GivenURL) -> RedisTarget:
    userinfo, address, path = given.split()
    host, port = given.address(address, _PORT)
    user, password = given.decoded("user and password", *_login(userinfo.removesuffix("@")))
    return RedisTarget(host, port, _db(given, path), user, password, tls=given.scheme == "rediss")


def _parse_several(given: GivenURL) -> RedisTarget:
    """Read a URL with several hosts.

    Go: splits the URL at its commas first. User and password stand before the first host, and are not percent-decoded;
    the database stands after the last host.
    """
    first, *more = given.rest.split(",")
    more[-1], _, path = more[-1].partition("/")
    userinfo, _, first = first.rpartition("@")
    if any("@" in part for part in (*more, path)):
        raise given.wrong(
            "'@' after a comma; with several hosts, user and password stand before the first, and can't hold a "
            "comma (with one host, write it as %2C)"
        )
    if any("/" in part for part in (first, *more)):
        raise given.wrong("'/' after a host that is not the last; the database stands after the last")
    if not all((first, *more)):
        raise given.wrong("expected a host on both sides of each comma")
    (host, port), *others = (given.address(part, _PORT) for part in (first, *more))
    tls = given.scheme == "rediss"
    return RedisTarget(host, port, _db(given, path), *_login(userinfo), tls=tls, others=tuple(others))


def _parse_socket(given: GivenURL) -> RedisTarget:
    if "?" in given.rest:
        raise given.wrong("options after '?' are not supported; a database stands after the path, as :/3")
    userinfo, _, address = given.rest.rpartition("@")
    if "@" in userinfo:
        raise given.wrong("more than one '@'; neither password nor path can hold one in this form")
    # Go: only ":/" begins a database; in /a.sock/3 the 3 is a part of the path.
    path, colon, db = address.partition(":")
    if not path.startswith("/"):
        raise given.wrong("expected redis+socket://[[user:]password@]/path/to/redis.sock[:/db]")
    if colon and not db.startswith("/"):
        raise given.wrong("expected :/ and a database number after the socket's path")
    return RedisTarget("", 0, _db(given, db[1:]), *_login(userinfo), path=path)


def _login(userinfo: str) -> tuple[str, str]:
    """Return user and password. Go: a lone word before @ is the password."""
    user, colon, password = userinfo.partition(":")
    return (user, password) if colon else ("", userinfo)


def _db(given: GivenURL, text: str) -> int:
    if not re.fullmatch(r"[0-9]{0,9}", text):
        raise given.wrong("expected a database number after the last '/'")
    return int(text or "0")
