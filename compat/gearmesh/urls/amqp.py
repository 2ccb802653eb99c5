"""Reads the URL of a RabbitMQ in Machinery's form."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from gearmesh.urls.addresses import bracketed, shown_address
from gearmesh.urls.given import GivenURL

__all__ = ["AMQP_SCHEMES", "AMQPTarget", "parse_amqp"]

_PORTS: Final = {"amqp": 5672, "amqps": 5671}
AMQP_SCHEMES: Final = tuple(_PORTS)


@dataclass(frozen=True, slots=True)
class AMQPTarget:
    """The address and login of one RabbitMQ.

    Attributes:
        host: name or address; an IPv6 address has no brackets.
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
        """Return keyword arguments of ``kombu.Connection``, without ``transport``; they suit ``pyamqp``, too."""
        return {"hostname": bracketed(self.host), "port": self.port, **self._login()}

    def to_amqp(self) -> dict[str, Any]:
        """Return keyword arguments of ``amqp.Connection``."""
        return {"host": shown_address(self.host, self.port), "login_method": "PLAIN", **self._login()}

    def _login(self) -> dict[str, Any]:
        return {
            "userid": self.username,
            "password": self.password,
            "virtual_host": self.virtual_host,
            "ssl": self.tls,
        }


def parse_amqp(given: GivenURL) -> AMQPTarget:
    """Read ``amqp[s]://[user[:password]@]host[:port][/virtual-host]``, and percent-decode all parts.

    Go: user and password are ``guest`` by default; no path, and a path of ``/``, mean the virtual host ``/``.
    Stricter than Go: options after ``?`` are an error.

    Raises:
        ConfigError: the message names the role, the URL without its password, and the expected form.
    """
    userinfo, address, path = given.split()
    if "," in address:
        raise given.wrong("several hosts; give several URLs and multiple_broker_separator")
    if re.search(r"\s", path):
        raise given.wrong("white space in the virtual host; write %20 for a space")
    host, port = given.address(address, _PORTS[given.scheme])
    user, colon, password = userinfo.removesuffix("@").partition(":")
    user, password, path = given.decoded("user, password and virtual host", user, password, path)
    return AMQPTarget(
        host=host,
        port=port,
        username=user if userinfo else "guest",
        # Go: a user without a colon keeps the default password.
        password=password if colon else "guest",
        virtual_host=path or "/",
        tls=given.scheme == "amqps",
    )
