"""Keeps connections to the broker for publishing, each of which one thread uses at a time."""

from __future__ import annotations

import contextlib
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from gearmesh.commits.flusher import Flusher
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import Token
from gearmesh.process_local import ProcessLocal

__all__ = ["PublisherConnection", "PublisherPool"]


class PublisherConnection:
    """One connection with its channel and Flusher, and the name under which the broker knows its batches.

    Args:
        connect: makes a ``kombu.Connection``, not connected yet.
    """

    def __init__(self, connect: Callable[[], Any], backend: Backend) -> None:
        self._connect = connect
        self.backend = backend
        self._connection: Any = None
        self._flusher: Flusher | None = None
        self._producer = uuid.uuid4().hex
        self._seq = 0
        #: The errors after which the caller should repeat: the outcome is unknown, or there was no connection.
        self.connection_errors: tuple[type[BaseException], ...] = backend.connection_errors

    def token(self) -> Token:
        """Make the token of the next batch; a repeated batch keeps its token."""
        self._seq += 1
        return Token(self._producer, self._seq)

    def flusher(self) -> Flusher:
        """The flusher of the open connection. Opens a connection if none is open."""
        if self._flusher is None:
            connection = self._connection = self._connect()
            self.connection_errors = (*connection.connection_errors, *self.backend.connection_errors)
            self._flusher = Flusher(connection.channel(), self.backend)
        return self._flusher

    @property
    def streams(self) -> bool:
        """True if several batches may be on their way over the open connection; False if none is open."""
        return self._flusher is not None and self._flusher.streaming is not None

    def close(self) -> None:
        """Drop the connection. The next :meth:`flusher` opens another."""
        connection, self._connection, self._flusher = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(Exception):  # the connection may be broken
                connection.close()


class PublisherPool:
    """The publisher connections of one process that are not in use."""

    def __init__(self, connect: Callable[[], Any], backend: Callable[[], Backend]) -> None:
        self._connect = connect
        self._backend = backend
        self._idle: ProcessLocal[deque[PublisherConnection]] = ProcessLocal(deque)

    def take(self) -> PublisherConnection:
        """Take a connection for this thread alone; :meth:`put_back` it, or close it after an error."""
        try:
            return self._idle.get().pop()  # the one used last; atomic
        except IndexError:
            return PublisherConnection(self._connect, self._backend())

    def put_back(self, connection: PublisherConnection) -> None:
        """Keep a connection for the next thread that takes one."""
        self._idle.get().append(connection)

    @contextlib.contextmanager
    def acquire(self) -> Iterator[PublisherConnection]:
        """Lend a connection to this thread alone. After any error, the pool closes it."""
        connection = self.take()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self.put_back(connection)

    def close(self) -> None:
        """Close the connections that are not in use. Later calls open new ones."""
        idle = self._idle.get()
        while idle:
            with contextlib.suppress(IndexError):
                idle.pop().close()
