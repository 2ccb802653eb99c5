"""Writes host and port as in a URL."""

from __future__ import annotations

__all__ = ["bracketed", "shown_address"]


def bracketed(host: str) -> str:
    """Return a host as it stands before a colon and a port: an IPv6 address gets brackets, unless it has them."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def shown_address(host: str, port: int) -> str:
    """Return ``host:port``, with an IPv6 address in brackets."""
    return f"{bracketed(host)}:{port}"
