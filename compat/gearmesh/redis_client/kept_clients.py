"""Clients with a connection of their own, kept for the next call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from redis import exceptions

from gearmesh.process_local import ProcessLocal
from gearmesh.redis_client.connections import CONNECTION_ERRORS

__all__ = ["KeptClients"]

T = TypeVar("T")


class KeptClients:
    """Lends each caller a client that owns one connection. redis-py's pool examines a connection's socket before each
    command, and takes as long for its own work as for the command itself.

    The server may have closed an idle connection. The call then fails, and this class repeats it. Redis may have
    carried out the first try if the connection ended before the answer came. So use it only for idempotent calls:
    reads, and the writing of PENDING before a message is sent.

    Args:
        client: a client with a pool. Each kept client takes its connection from this pool.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._idle: ProcessLocal[deque[Any]] = ProcessLocal(deque)

    def call(self, call: Callable[[Any], T]) -> T:
        """Call ``call(client)``, and once more with the pool's client if the kept connection has ended.

        A call that timed out is not repeated: the server had the full time for it, and may still be busy with it.

        Args:
            call: a call that has the same effect if it is carried out twice.

        Raises:
            Exception: the call's own error.
        """
        idle = self._idle.get()
        try:
            kept = idle.pop()
        except IndexError:
            kept = self._client.client()
        try:
            answer = call(kept)
        except CONNECTION_ERRORS as exc:
            kept.close()
            if isinstance(exc, exceptions.TimeoutError):
                raise
            return call(self._client)
        except BaseException:
            kept.close()
            raise
        idle.append(kept)
        return answer

    def close(self) -> None:
        """Give the connections that are not in use back to the pool."""
        idle = self._idle.get()
        while idle:
            with suppress(IndexError):
                idle.pop().close()
