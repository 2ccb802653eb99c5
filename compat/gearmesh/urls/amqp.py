"""Reads the URL of a RabbitMQ in Machinery's form."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from gearmesh.errors import ConfigError
from gearmesh.urls.addresses import bracketed, read_address, shown_address
from gearmesh.urls.hiding import redact

__all__ = ["SCHEMES", "AMQPTarget", "parse_amqp"]

SCHEMES: Final = ("amqp", "amqps")
_PORTS: Final = {"amqp": 5672, "amqps": 5671}
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class AMQPTarget:
    """The address and login of one RabbitMQ.

    Attributes:
        host: name or address, an IPv6 address without brackets.
        port: TCP port.
        username: left out of ``repr``, as ``redact`` does.
        password: left out of ``repr``.
        virtual_host: the virtual host; ``"/"`` is RabbitMQ's default.
        tls: the connection is TLS (``amqps://``).
    """

    host: str = "localhost"
    port: int = 5672
    username: str = field(default="guest", repr=False)
    password: str = field(default="guest", repr=False)
    virtual_host: str = "/"
    tls: bool = False

    def to_kombu(self) -> dict[str, Any]:
        """Keyword arguments of ``kombu.Connection``, without ``transport``; they suit ``pyamqp``, too."""
        return {
            "hostname": bracketed(self.host),
            "port": self.port,
            "userid": self.username,
            "password": self.password,
            "virtual_host": self.virtual_host,
            "ssl": self.tls,
        }

    def to_amqp(self) -> dict[str, Any]:
        """Keyword arguments of ``amqp.Connection``."""
        return {
            "host": shown_address(self.host, self.port),
            "userid": self.username,
            "password": self.password,
            "login_method": "PLAIN",
            "virtual_host": self.virtual_host,
            "ssl": self.tls,
        }


def parse_amqp(url: str, scheme: str, role: str) -> AMQPTarget:
    """Read ``amqp[s]://[user[:password]@]host[:port][/virtual-host]``; all parts percent-decoded.

    Go: without user and password it is guest; no path, and a path of ``/``, mean the virtual host ``/``.
    Stricter than Go: options after ``?`` are an error.

    Raises:
        ConfigError: the message names the role, the URL without its password, and what was expected.
    """

    def wrong(text: str) -> ConfigError:
        return ConfigError(f"{role}: {redact(url)!r}: {text}")

    rest = url.partition("://")[2]
    if "?" in rest or "#" in rest:
        raise wrong("options after '?' or '#' are not supported; in a password write %3F and %23")
    authority, _, path = rest.partition("/")
    userinfo, at, address = authority.rpartition("@")
    if "@" in path:
        raise wrong("'@' after a '/'; in a password write %2F for '/'")
    if "," in address:
        raise wrong("several hosts; give several URLs and multiple_broker_separator")
    if _BAD_ESCAPE.search(rest):
        raise wrong("'%' without two hex digits; write %25 for a percent sign")
    if re.search(r"\s", path):
        raise wrong("white space in the virtual host; write %20 for a space")
    try:
        host, port = read_address(address, _PORTS[scheme])
    except ValueError as exc:
        raise wrong(str(exc)) from None
    user, colon, password = userinfo.partition(":")
    try:
        user, password, path = (unquote(part, errors="strict") for part in (user, password, path))
    except UnicodeDecodeError:
        raise wrong("user, password and virtual host must be UTF-8 when percent-decoded") from None
    return AMQPTarget(
        host=host,
        port=port,
        username=user if at else "guest",
        # Go: a user without a colon keeps the default password.
        password=password if colon else "guest",
        virtual_host=path or "/",
        tls=scheme == "amqps",
    )
