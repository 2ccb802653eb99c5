"""Writes host and port as in a URL."""

from __future__ import annotations

__all__ = ["bracketed", "shown_address"]


def bracketed(host: str) -> str:
    """A host in the form before a colon and a port: an IPv6 address has brackets, once."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def shown_address(host: str, port: int) -> str:
    """``host:port``, an IPv6 address in brackets."""
    return f"{bracketed(host)}:{port}"
