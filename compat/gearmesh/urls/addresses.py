"""Reads host and port from a URL, and writes them."""

from __future__ import annotations

import ipaddress
import re

from gearmesh.urls.hiding import HOST

__all__ = ["bracketed", "read_address", "shown_address"]

#: A name that can be looked up: docker's names have underscores, and names of other scripts are encoded by Python.
_NAME = re.compile(r"[\w.-]*")


def read_address(text: str, port: int) -> tuple[str, int]:
    """Read ``host[:port]``; an IPv6 address stands in brackets and comes out without them.

    Args:
        text: an empty host means localhost.
        port: the default.

    Raises:
        ValueError: the message says what was expected, and quotes nothing, since it may be a part of a password.
    """
    match = HOST.fullmatch(text)
    if match is None:
        raise ValueError("expected host:port (an IPv6 address in [brackets], the port a number)")
    host = match[1]
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise ValueError("expected an IPv6 address in the [brackets]") from None
    elif not _NAME.fullmatch(host):
        raise ValueError(
            "expected host:port, but the host holds a character that no name of a host has: expected letters, digits, "
            "'.', '-' and '_'"
        )
    number = int((match[2] or str(port))[:9])
    if not 0 < number < 65536:
        raise ValueError("expected a port from 1 to 65535")
    return host.strip("[]") or "localhost", number


def bracketed(host: str) -> str:
    """A host in the form before a colon and a port: an IPv6 address has brackets, once."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def shown_address(host: str, port: int) -> str:
    """``host:port``, an IPv6 address in brackets."""
    return f"{bracketed(host)}:{port}"
