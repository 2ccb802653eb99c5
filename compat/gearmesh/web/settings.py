"""The settings of a dashboard: the way of signing in, the permitted actions, and the values that it hides."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gearmesh.errors import ConfigError

__all__ = ["DEFAULT_MASK", "MIN_TOKEN_CHARS", "Authorize", "DashboardSettings"]

#: Parts of the names of arguments, headers and fields whose values are hidden by default.
DEFAULT_MASK: Final = (
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "authorization",
    "credential",
)
#: Smallest length of a token in characters; a shorter one could be guessed.
MIN_TOKEN_CHARS: Final = 16

#: Takes the ASGI scope of a request and names its user; None refuses the request.
Authorize = Callable[[Mapping[str, Any]], "str | None"]


@dataclass(frozen=True, kw_only=True)
class DashboardSettings:
    """Sets the ways to sign in to a dashboard, the permitted actions, and the values to hide.

    Attributes:
        token: the token with which users sign in, of at least 16 characters; ``""``: no user can sign in with a token.
        auth_header: the header in which a reverse proxy names the user; ``""``: no proxy names users.
        trusted_proxies: addresses or networks of proxies whose :attr:`auth_header` and X-Forwarded-Proto are believed.
        authorize: a function that names the user of a request, if the dashboard is part of an app that knows its users.
        allow_actions: False: the dashboard is read-only and refuses all actions.
        mask: parts of names, in any letter case. Every page hides the values under such names.
        allow_http: True lets users of other machines sign in without TLS. Users of this machine always can.
        queues: names of queues to show, besides those of the app and those that the broker lists.

    Raises:
        ConfigError: the settings give no way to sign in, or a setting is wrong.
    """

    token: str = field(default="", repr=False)
    auth_header: str = ""
    trusted_proxies: tuple[str, ...] = ()
    authorize: Authorize | None = None
    allow_actions: bool = False
    mask: tuple[str, ...] = DEFAULT_MASK
    allow_http: bool = False
    queues: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.token or self.auth_header or self.authorize):
            raise ConfigError("dashboard: no user could sign in; give a token, auth_header or authorize")
        if self.token and len(self.token) < MIN_TOKEN_CHARS:
            raise ConfigError(
                f"dashboard: the token has {len(self.token)} characters, expected {MIN_TOKEN_CHARS} or more"
            )
        if self.auth_header and not self.trusted_proxies:
            raise ConfigError(
                f"dashboard: auth_header is {self.auth_header!r} and no trusted proxy is named, so any client could "
                "send the header: give trusted_proxies"
            )
        for each in self.trusted_proxies:
            try:
                ipaddress.ip_network(each, strict=False)
            except ValueError as exc:
                raise ConfigError(
                    f"dashboard: trusted proxy {each!r} is not an address or network: {exc}"
                ) from None

    def trusts(self, address: str) -> bool:
        """True if the connection's other end is a trusted proxy."""
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:  # a Unix socket has no address
            return False
        return any(peer in ipaddress.ip_network(each, strict=False) for each in self.trusted_proxies)
