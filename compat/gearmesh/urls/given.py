"""A URL as the user gave it: its parts, and the errors about it."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import unquote

from gearmesh.errors import ConfigError
from gearmesh.urls.hiding import HOST, redact

__all__ = ["GivenURL"]

#: A host name: Docker's names have underscores, and Python encodes letters of other scripts.
_NAME = re.compile(r"[\w.-]*")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class GivenURL(NamedTuple):
    """A URL with its role and its scheme in lower case. Its methods raise ConfigError."""

    url: str
    role: str
    scheme: str

    def wrong(self, text: str) -> ConfigError:
        """Return the error for a fault of the URL. It shows the URL without its password."""
        return ConfigError(f"{self.role}: {redact(self.url)!r}: {text}")

    @property
    def rest(self) -> str:
        """The text behind ``://``."""
        return self.url.partition("://")[2]

    def split(self) -> tuple[str, str, str]:
        """Split the URL into ``userinfo@``, address and path; only the userinfo may hold an ``@``."""
        if "?" in self.rest or "#" in self.rest:
            raise self.wrong("options after '?' or '#' are not supported; in a password write %3F and %23")
        authority, _, path = self.rest.partition("/")
        if "@" in path:
            raise self.wrong("'@' after a '/'; in a password write %2F for '/'")
        userinfo, at, address = authority.rpartition("@")
        return userinfo + at, address, path

    def address(self, text: str, port: int) -> tuple[str, int]:
        """Read ``host[:port]``; an IPv6 address must stand in brackets, and is returned without them.

        Args:
            text: an empty host means localhost. The error does not quote it, since it may be a part of a password.
            port: the default port.
        """
        match = HOST.fullmatch(text)
        if match is None:
            raise self.wrong("expected host:port (an IPv6 address in [brackets], the port a number)")
        host = match[1]
        if host.startswith("["):
            try:
                ipaddress.IPv6Address(host[1:-1])
            except ValueError:
                raise self.wrong("expected an IPv6 address in the [brackets]") from None
        elif not _NAME.fullmatch(host):
            raise self.wrong(
                "expected host:port, but the host has a character that no host name has: expected letters, digits, "
                "'.', '-' and '_'"
            )
        number = int((match[2] or str(port))[:9])
        if not 0 < number < 65536:
            raise self.wrong("expected a port from 1 to 65535")
        return host.strip("[]") or "localhost", number

    def decoded(self, what: str, *parts: str) -> tuple[str, ...]:
        """Percent-decode parts of the URL; ``what`` is the noun for them in errors."""
        if any(map(_BAD_ESCAPE.search, parts)):
            raise self.wrong(f"'%' in {what} without two hex digits; write %25 for a percent sign")
        try:
            return tuple(unquote(part, errors="strict") for part in parts)
        except UnicodeDecodeError:
            raise self.wrong(f"{what} must be UTF-8 when percent-decoded") from None
