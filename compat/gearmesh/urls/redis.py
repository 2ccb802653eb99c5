"""Reads the URL of a Redis in Machinery's forms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import unquote

from gearmesh.errors import ConfigError
from gearmesh.urls.addresses import read_address, shown_address
from gearmesh.urls.hiding import redact

__all__ = ["SCHEMES", "RedisTarget", "Topology", "parse_redis"]

#: The kind of servers at an address: one server, the sentinels that know its master, or nodes of a cluster.
Topology = Literal["server", "sentinel", "cluster"]

SCHEMES: Final = ("redis", "rediss", "redis+socket")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class RedisTarget:
    """The address and login of a Redis: of one server, or of the first of several cluster nodes or sentinels.

    Attributes:
        host: name or address; ``""`` when ``path`` is set.
        port: TCP port; 0 when ``path`` is set.
        db: database number.
        username: ACL user; ``""`` for the default user. Left out of ``repr``, as ``redact`` does.
        password: ``""`` for none. Left out of ``repr``.
        tls: the connection is TLS, with the system's certificates (``rediss://``).
        path: a Unix socket's path; ``""`` for TCP.
        others: more hosts and their ports: a cluster's nodes, or sentinels.
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
        """The kind of servers at the address, by the settings of these names.

        Go: with a master's name the hosts are sentinels, unless ``cluster_enabled`` is set; several hosts without
        one are a cluster. A cluster has no databases, so the URL's is ignored.

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
        """Keyword arguments of ``kombu.Connection``, without ``transport``.

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
        """Keyword arguments of ``redis.Redis`` (and of ``redis.asyncio.Redis``) for the first host."""
        kwargs: dict[str, Any] = {"db": self.db}
        if self.path:
            kwargs["unix_socket_path"] = self.path
        else:
            kwargs |= {"host": self.host, "port": self.port}
            if self.tls:
                kwargs["ssl"] = True
        if self.username:
            kwargs["username"] = self.username
        if self.password:
            kwargs["password"] = self.password
        return kwargs

    def same_server(self, other: object) -> bool:
        """True if ``other`` is the same server and database by its address alone."""
        return isinstance(other, RedisTarget) and (set(self.nodes), self.db, self.path) == (
            set(other.nodes),
            other.db,
            other.path,
        )


def parse_redis(url: str, scheme: str, role: str) -> RedisTarget:
    """Read a URL with one of :data:`SCHEMES`. Raises ConfigError."""
    rest = url.partition("://")[2]
    if scheme == "redis+socket":
        return _parse_socket(url, rest, role)
    if "," in rest:
        return _parse_several(url, rest, role, tls=scheme == "rediss")
    return _parse_tcp(url, rest, role, tls=scheme == "rediss")


def _parse_tcp(url: str, rest: str, role: str, *, tls: bool) -> RedisTarget:
    def wrong(text: str) -> ConfigError:
        return ConfigError(f"{role}: {redact(url)!r}: {text}")

    if "?" in rest or "#" in rest:
        raise wrong("options after '?' or '#' are not supported; in a password write %3F and %23")
    authority, _, path = rest.partition("/")
    userinfo, at, address = authority.rpartition("@")
    if "@" in path:
        raise wrong("'@' after a '/'; in a password write %2F for '/'")
    user, colon, password = userinfo.partition(":")
    if at and not colon:
        user, password = "", user  # Go: a lone word before @ is the password
    if _BAD_ESCAPE.search(userinfo):
        raise wrong("'%' in user or password without two hex digits; write %25 for a percent sign")
    host, port = _address(address, wrong)
    try:
        user, password = unquote(user, errors="strict"), unquote(password, errors="strict")
    except UnicodeDecodeError:
        raise wrong("user and password must be UTF-8 when percent-decoded") from None
    return RedisTarget(host, port, _db(path, wrong), user, password, tls=tls)


def _parse_several(url: str, rest: str, role: str, *, tls: bool) -> RedisTarget:
    """Read a URL of several hosts.

    Go: it is split at the commas first; user and password are before the first host and literal, the database is
    after the last host."""

    def wrong(text: str) -> ConfigError:
        return ConfigError(f"{role}: {redact(url)!r}: {text}")

    first, *more = rest.split(",")
    more[-1], _, path = more[-1].partition("/")
    userinfo, at, first = first.rpartition("@")
    if any("@" in part for part in (*more, path)):
        raise wrong(
            "'@' after a comma; of several hosts user and password stand before the first, and can't hold a "
            "comma (of one host write it as %2C)"
        )
    if any("/" in part for part in (first, *more)):
        raise wrong("'/' after a host that is not the last; the database stands after the last")
    if not all((first, *more)):
        raise wrong("expected a host on both sides of each comma")
    user, colon, password = userinfo.partition(":")
    if at and not colon:
        user, password = "", user
    (host, port), *others = (_address(part, wrong) for part in (first, *more))
    return RedisTarget(host, port, _db(path, wrong), user, password, tls=tls, others=tuple(others))


def _address(text: str, wrong: Any) -> tuple[str, int]:
    try:
        return read_address(text, 6379)
    except ValueError as exc:
        raise wrong(str(exc)) from None


def _parse_socket(url: str, rest: str, role: str) -> RedisTarget:
    def wrong(text: str) -> ConfigError:
        return ConfigError(f"{role}: {redact(url)!r}: {text}")

    if "?" in rest:
        raise wrong("options after '?' are not supported; a database stands after the path, as :/3")
    userinfo, at, address = rest.rpartition("@")
    if "@" in userinfo:
        raise wrong("more than one '@'; neither password nor path can hold one in this form")
    user, colon, password = userinfo.partition(":")
    if at and not colon:
        user, password = "", user
    # Go: a database stands only after ":/"; in /a.sock/3 the 3 is a part of the path.
    path, colon, db = address.partition(":")
    if not path.startswith("/"):
        raise wrong("expected redis+socket://[[user:]password@]/path/to/redis.sock[:/db]")
    if colon and not db.startswith("/"):
        raise wrong("expected :/ and a database number after the socket's path")
    return RedisTarget("", 0, _db(db[1:], wrong), user, password, path=path)


def _db(text: str, wrong: Any) -> int:
    if not re.fullmatch(r"[0-9]{0,9}", text):
        raise wrong("expected a database number after the last '/'")
    return int(text or "0")
