"""Reads the URLs of Memcache and MongoDB in Machinery's forms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from gearmesh.urls.given import GivenURL

__all__ = ["MemcacheTarget", "MongoTarget", "parse_memcache", "parse_mongodb"]

#: gearmesh's own option in a MongoDB URL. Go's driver ignores unknown options.
_DATABASE: Final = "database"
#: The names that MongoDB allows for a database on every system.
_DATABASE_NAME: Final = re.compile(r"[^/\\. \"$*<>:|?\0]{1,63}")


@dataclass(frozen=True, slots=True)
class MemcacheTarget:
    """The addresses of the memcached servers of one URL.

    Attributes:
        servers: ``(host, port)``, or the path of a Unix socket with port 0. They have the order of the URL, and one may
            be there twice, because the list decides which server holds a key.
    """

    servers: tuple[tuple[str, int], ...]
    scheme: str = "memcache"


@dataclass(frozen=True, slots=True)
class MongoTarget:
    """The address of a MongoDB deployment.

    Attributes:
        url: the URL for MongoDB's drivers. Left out of ``repr``.
        database: the database of states; ``""``: the URL names none.
        scheme: ``"mongodb"``, or ``"mongodb+srv"`` if DNS has the list of hosts.
    """

    url: str = field(repr=False)
    database: str = ""
    scheme: str = "mongodb"

    @property
    def logins(self) -> str:
        """The database in which the user is looked up, if the URL's path names one; else ``""``."""
        return unquote(self.url.partition("://")[2].partition("?")[0].partition("/")[2])


def parse_memcache(given: GivenURL) -> MemcacheTarget:
    """Read ``memcache://host[:port][,host[:port]…]``; an entry may be the path of a socket. Raises ConfigError."""
    servers = []
    for entry in given.rest.split(","):
        if entry.startswith("/") and not re.search(r"[?#@]", entry):
            servers.append((entry, 0))
        elif re.search(r"[/?#@\s]", entry) or not entry:
            raise given.wrong("expected memcache://host:port,host:port (there are no logins or options)")
        else:
            servers.append(given.address(entry, 11211))
    return MemcacheTarget(tuple(servers))


def parse_mongodb(given: GivenURL) -> MongoTarget:
    """Read ``mongodb[+srv]://[user:password@]host[:port][,…][/logins][?options]``.

    The options are MongoDB's own (``authSource``, ``tls``, ``tlsCAFile``, ``replicaSet``, …) and gearmesh's
    ``database``. Go: the path names the database in which the user is looked up, and not that of the states.

    Raises:
        ConfigError: the URL is wrong. The message has no part of it that may be a password.
    """
    scheme = given.scheme
    head, _, query = given.url.partition("?")
    rest: list[str] = []
    database = ""
    for option in re.split(r"[&;]", query) if query else ():
        name, _, value = option.partition("=")
        if name.lower() != _DATABASE:
            rest.append(option)
            continue
        database = unquote(value)
        if not _DATABASE_NAME.fullmatch(database):
            raise given.wrong(f"database is {database!r}, expected a database's name")
    if rest and "/" not in head.partition("://")[2]:
        head += "/"  # some drivers need a slash before the options
    bare = f"{head}?{'&'.join(rest)}" if rest else head
    if fault := _complaint(bare, scheme):
        raise given.wrong(
            f"{fault}; expected {scheme}://[user:password@]host[:port][,…][/][?options], "
            "user and password percent-encoded"
        )
    return MongoTarget(bare, database, scheme)


def _complaint(url: str, scheme: str) -> str:
    """Return the fault of a URL, without any of its text; ``""`` if it has none."""
    where = url.partition("?")[0].partition("://")[2]
    if "@" in url.partition("?")[2]:
        return "'@' after a '?'; in a password write %3F for '?'"
    if "@" in where.partition("/")[2]:
        return "'@' after a '/'; in a password write %2F for '/'"
    if scheme == "mongodb+srv":
        hosts = where.partition("/")[0].rpartition("@")[2]
        if not re.fullmatch(r"[^\s,:/\[\]]+\.[^\s,:/\[\]]+", hosts):
            return "it must have one host name, without a port, under which DNS lists the hosts"
        # This check does not ask DNS. The rest has the form of an ordinary URL.
        url = url.replace("mongodb+srv://", "mongodb://", 1)
        url = re.sub(r"(?i)[?&](srvServiceName|srvMaxHosts)=[^&]*", "", url)
    if (trouble := _trouble(url)) is None:
        return ""
    if isinstance(trouble, OSError):
        return "a file that it names can't be read"
    # pymongo's errors quote options, and parts of a supposed port, so only an option's name is repeated.
    for option in re.split("[&;]", url.partition("?")[2]):
        name = option.partition("=")[0]
        if re.fullmatch("[A-Za-z]+", name) and _trouble(f"mongodb://host/?{option}") is not None:
            return f"its option {name!r} is wrong"
    return "it cannot be read"


def _trouble(url: str) -> Exception | None:
    """Return pymongo's error about a URL; None if it accepts the URL."""
    from pymongo.errors import PyMongoError
    from pymongo.uri_parser import parse_uri

    try:
        parse_uri(url)
    except (OSError, PyMongoError, ValueError) as exc:
        return exc
    return None
