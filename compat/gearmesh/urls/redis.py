"""Where a Redis is, in Machinery's URL forms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from gearmesh.errors import ConfigError
from gearmesh.urls.hiding import HOST, redact

__all__ = ["SCHEMES", "RedisTarget", "parse_redis"]

SCHEMES: Final = ("redis", "rediss", "redis+socket")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class RedisTarget:
    """Where one Redis server is.

    Attributes:
        host: name or address; ``""`` when ``path`` is set.
        port: TCP port; 0 when ``path`` is set.
        db: database number.
        username: ACL user; ``""`` for the default user. Left out of ``repr``, as ``redact`` does.
        password: ``""`` for none. Left out of ``repr``.
        tls: the connection is TLS, with the system's certificates (``rediss://``).
        path: a Unix socket's path; ``""`` for TCP.
    """

    host: str = "localhost"
    port: int = 6379
    db: int = 0
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    tls: bool = False
    path: str = ""

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
        """Keyword arguments of ``redis.Redis`` (and of ``redis.asyncio.Redis``)."""
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
        return isinstance(other, RedisTarget) and (self.host, self.port, self.db, self.path) == (
            other.host,
            other.port,
            other.db,
            other.path,
        )


def parse_redis(url: str, scheme: str, role: str) -> RedisTarget:
    """Read a URL with one of :data:`SCHEMES`. Raises ConfigError."""
    rest = url.partition("://")[2]
    if scheme == "redis+socket":
        return _parse_socket(url, rest, role)
    return _parse_tcp(url, rest, role, tls=scheme == "rediss")


def _parse_tcp(url: str, rest: str, role: str, *, tls: bool) -> RedisTarget:
    def wrong(text: str) -> ConfigError:
        return ConfigError(f"{role}: {redact(url)!r}: {text}")

    if "," in rest:
        raise wrong(
            "several hosts (Redis Cluster, Sentinel) are not supported yet; a comma in a password is %2C"
        )
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
    match = HOST.fullmatch(address)
    if match is None:
        raise wrong("expected host:port (an IPv6 address in [brackets], the port a number)")
    port = int((match[2] or "6379")[:9])
    if not 0 < port < 65536:
        raise wrong("expected a port from 1 to 65535")
    try:
        user, password = unquote(user, errors="strict"), unquote(password, errors="strict")
    except UnicodeDecodeError:
        raise wrong("user and password must be UTF-8 when percent-decoded") from None
    host = match[1].strip("[]") or "localhost"
    return RedisTarget(host, port, _db(path, wrong), user, password, tls=tls)


def _parse_socket(url: str, rest: str, role: str) -> RedisTarget:
    def wrong(text: str) -> ConfigError:
        return ConfigError(f"{role}: {redact(url)!r}: {text}")

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
