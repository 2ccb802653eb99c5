"""The error that both gearmesh and Celery handle."""

from __future__ import annotations

from kombu.exceptions import EncodeError

from gearmesh.errors import LocalProtocolError

__all__ = ["NotForGo"]


class NotForGo(LocalProtocolError, EncodeError):  # type: ignore[misc]
    """Go could not read this call, so nothing was sent. Raised inside a task, it makes the task fail."""
