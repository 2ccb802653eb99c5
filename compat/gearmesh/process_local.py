"""State that belongs to one process: after a fork the child starts with its own."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar
from weakref import WeakSet

__all__ = ["OWN_SOCKETS", "OwnSockets", "ProcessLocal"]

T = TypeVar("T")


class ProcessLocal(Generic[T]):
    """Holds one value a process, made by ``make()``.

    A lock that another thread held at the fork stays locked in the child, and an inherited socket
    belongs to the parent: so nothing inherited is used. Inherited objects are neither closed nor
    freed: closing could send a protocol goodbye on the parent's connection.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._by_pid: dict[int, T] = {}
        self._locks: dict[int, threading.RLock] = {}

    def get(self) -> T:
        """Return this process's own value, made at the first call. Safe in threads: only one of them makes it."""
        pid = os.getpid()
        mine = self._by_pid.get(pid)
        if mine is None:
            with self._locks.setdefault(pid, threading.RLock()):  # atomic: all threads get the same lock
                mine = self._by_pid.get(pid)
                if mine is None:
                    mine = self._by_pid[pid] = self._make()
        return mine

    def peek(self) -> T | None:
        """Return this process's value; None: it was not made yet."""
        return self._by_pid.get(os.getpid())

    def pop(self) -> T | None:
        """Forget this process's value, and return it if it was made: the next :meth:`get` makes another."""
        return self._by_pid.pop(os.getpid(), None)


class OwnSockets:
    """Keeps the sockets of this process out of processes that are forked from it.

    A server sees that a connection has ended when the last copy of its socket is closed. A process that a task forks,
    and that outlives the worker, would keep the worker's connections open: RabbitMQ would not redeliver what the dead
    worker held, and Redis would move a message to the dead worker's blocking wait.

    In the forked process the null device takes the socket's place, so that its descriptor's number stays in use:
    nothing is sent to the server, and a later close of the socket there closes no other file.
    """

    def __init__(self) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._registered = False

    def add(self, sock: socket.socket | None) -> None:
        """Release ``sock`` in processes that are forked from now on; None is ignored."""
        if sock is None:
            return
        if not self._registered:
            self._registered = True
            os.register_at_fork(after_in_child=self._release)
        self._sockets.add(sock)

    def _release(self) -> None:
        sockets, self._sockets = self._sockets, WeakSet()
        numbers = [number for number in (each.fileno() for each in sockets) if number >= 0]
        if not numbers:
            return
        try:
            null = os.open(os.devnull, os.O_RDWR)
        except OSError:  # no descriptor is free: the process keeps the sockets, and does not use them
            return
        for number in numbers:
            os.dup2(null, number, inheritable=False)
        os.close(null)


#: The sockets that connect this process with brokers.
OWN_SOCKETS: Final = OwnSockets()
