"""Which task is running here: one context variable, so it is right in threads and coroutines."""

from __future__ import annotations

from contextvars import ContextVar

from gearmesh.errors import TaskError
from gearmesh.wire.signature import Signature

__all__ = ["RUNNING", "current"]

#: Set by whoever runs a task (``token = RUNNING.set(sig)`` … ``RUNNING.reset(token)``).
RUNNING: ContextVar[Signature] = ContextVar("gearmesh.running")


def current() -> Signature:
    """The signature of the task that is running in this context, as it was received.

    Raises:
        TaskError: no task is running here.
    """
    try:
        return RUNNING.get()
    except LookupError:
        raise TaskError("current(): no task is running here") from None
