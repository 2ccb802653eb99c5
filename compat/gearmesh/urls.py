"""Broker, backend and lock URLs, in Machinery's forms, and how to show one without its password.

Nothing here connects to anything. No message of an error here shows a password, not even one
that was written in the wrong place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Literal
from urllib.parse import unquote

from gearmesh.errors import ConfigError

__all__ = [
    "PlainTarget",
    "RedisTarget",
    "Role",
    "Target",
    "known_schemes",
    "parse",
    "redact",
    "redact_text",
    "scheme_of",
]

Role = Literal["broker", "backend", "lock"]

REDIS_SCHEMES = ("redis", "rediss", "redis+socket")
_BUILT_IN: dict[Role, tuple[str, ...]] = {
    "broker": (*REDIS_SCHEMES, "memory", "eager"),
    "backend": (*REDIS_SCHEMES, "memory", "null", "eager"),
    "lock": (*REDIS_SCHEMES, "memory", "eager"),
}
_ENTRY_POINTS: dict[Role, str] = {
    "broker": "gearmesh.transports",
    "backend": "gearmesh.backends",
    "lock": "gearmesh.locks",
}
_WORDS = ("memory", "eager", "null")  # Machinery writes these without "://"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]*)(?::([0-9]*))?")
_SECRET_OPTION = re.compile(r"(?i)([?&;][^=&;]*(?:pass|secret|token|key|credential)[^=&;]*=)[^&;]*")
_LOGIN_IN_TEXT = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s\"'<>]*@")
_MASK = "***"


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


@dataclass(frozen=True, slots=True)
class PlainTarget:
    """A URL that is only a scheme and perhaps a name: ``memory://tests``, ``eager``, ``null``.

    For the scheme of a plugin, ``rest`` is all that follows ``://``; it may hold a password.
    """

    scheme: str
    rest: str = field(default="", repr=False)


Target = RedisTarget | PlainTarget


def known_schemes(role: Role) -> tuple[str, ...]:
    """The schemes that a URL of this role may have: the built-in ones, then the plugins'."""
    plugins = sorted({point.name for point in entry_points(group=_ENTRY_POINTS[role])})
    return (*_BUILT_IN[role], *(name for name in plugins if name not in _BUILT_IN[role]))


def scheme_of(url: str, role: Role = "broker") -> str:
    """The scheme, in lower case. Raises ConfigError if there is none."""
    if url in _WORDS:
        return url
    if match := _SCHEME.match(url):
        return match[1].lower()
    raise ConfigError(
        f"{role}: {redact(url)!r} has no scheme, expected a URL such as redis://localhost:6379/0"
    )


def parse(url: str, role: Role = "broker") -> Target:
    """Read a URL as Machinery does.

    Forms: ``redis[s]://[[user:]password@]host[:port][/db]`` (``redis://x@h`` means the password x,
    percent-decoded), ``redis+socket://[[user:]password@]/path.sock[:/db]`` (all literal),
    ``memory[://name]``, ``eager[://]``, ``null[://]``.

    Stricter than Go on purpose: a database that is no number, options after ``?`` and a second
    ``@`` of the socket form are errors here, where Go goes on with something else than was meant.

    Raises:
        ConfigError: naming the role, the URL without its password, and what was expected.
    """
    scheme = scheme_of(url, role)
    rest = url.partition("://")[2]
    if scheme not in _BUILT_IN[role]:
        known = known_schemes(role)
        if scheme not in known:
            raise ConfigError(f"{role}: unknown URL scheme {scheme!r}, expected one of {', '.join(known)}")
        return PlainTarget(scheme, rest)
    if scheme == "redis+socket":
        return _parse_socket(url, rest, role)
    if scheme in REDIS_SCHEMES:
        return _parse_tcp(url, rest, role, tls=scheme == "rediss")
    if rest and scheme != "memory":
        raise ConfigError(f"{role}: {redact(url)!r}: expected nothing after {scheme}://")
    return PlainTarget(scheme, rest)


def redact(url: str) -> str:
    """The URL with ``***`` in place of user and password, or of all that might be one.

    Both go: who writes ``redis://pass:word@host`` has made a part of a password the user name.
    """
    if url in _WORDS:
        return url
    match = _SCHEME.match(url)
    if match is None:
        return _MASK  # a secret in the wrong place, for all we know
    scheme = match[0]
    rest = url[len(scheme) :]
    userinfo, at, tail = rest.rpartition("@")
    if scheme.lower() == "redis+socket://":
        if at:
            return f"{scheme}{_MASK}@{tail}"
        return url if rest.startswith("/") else f"{scheme}{_MASK}"
    if "?" in userinfo or "#" in userinfo:
        return f"{scheme}{_MASK}"  # where the password ends, nobody can say
    tail = _SECRET_OPTION.sub(rf"\1{_MASK}", tail)
    if at:
        return f"{scheme}{_MASK}@{tail}"
    # "redis://user:password" without a host: what stands where a port belongs is no port.
    hosts = tail.partition("/")[0].split(",")
    if len(hosts) == 1 and not _HOST.fullmatch(hosts[0]):
        return f"{scheme}{hosts[0].partition(':')[0]}:{_MASK}"
    if len(hosts) > 1 and not all((found := _HOST.fullmatch(host)) and found[2] for host in hosts):
        return f"{scheme}{_MASK}"
    return f"{scheme}{tail}"


def redact_text(text: str) -> str:
    """Text from elsewhere (a log line, a traceback) with ``***`` for what stands before ``@`` in URLs."""
    return _LOGIN_IN_TEXT.sub(rf"\1{_MASK}@", text) if "://" in text else text


def _parse_tcp(url: str, rest: str, role: Role, *, tls: bool) -> RedisTarget:
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
    match = _HOST.fullmatch(address)
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


def _parse_socket(url: str, rest: str, role: Role) -> RedisTarget:
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
