"""The error that both worlds understand."""

from __future__ import annotations

from kombu.exceptions import EncodeError

from gearmesh.errors import LocalProtocolError

__all__ = ["NotForGo"]


class NotForGo(LocalProtocolError, EncodeError):  # type: ignore[misc]
    """Go could not take this; nothing was sent. Inside of a task, its FAILURE."""
