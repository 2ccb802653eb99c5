"""Defines the error that both gearmesh and Celery handle."""

from __future__ import annotations

from kombu.exceptions import EncodeError

from gearmesh.errors import LocalProtocolError

__all__ = ["NotForGo"]


class NotForGo(LocalProtocolError, EncodeError):  # type: ignore[misc]
    """Raised for a call that Go could not read; gearmesh has sent nothing. Inside a task, it makes the task fail."""
