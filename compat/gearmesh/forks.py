"""State that belongs to one process: after a fork the child starts with its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["PerProcess"]

T = TypeVar("T")


class PerProcess(Generic[T]):
    """One ``make()`` a process.

    A lock that another thread held at the fork stays locked in the child, and an inherited socket
    belongs to the parent: so nothing inherited is used. Nor is it closed or freed, since that
    could say goodbye on the parent's connection.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._by_pid: dict[int, T] = {}

    def get(self) -> T:
        """This process's own value, made at the first call. Safe in threads without a lock."""
        pid = os.getpid()
        mine = self._by_pid.get(pid)
        if mine is None:  # setdefault is atomic: all threads get the same one
            mine = self._by_pid.setdefault(pid, self._make())
        return mine

    def peek(self) -> T | None:
        """This process's value if it was made already."""
        return self._by_pid.get(os.getpid())

    def pop(self) -> T | None:
        """This process's value if there is one, which is let go: the next :meth:`get` makes another."""
        return self._by_pid.pop(os.getpid(), None)
