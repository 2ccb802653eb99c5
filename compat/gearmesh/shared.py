"""Shares objects of this process by name, such as memory brokers and memory backends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

__all__ = ["SharedByName"]

T = TypeVar("T")


class SharedByName(Generic[T]):
    """Finds an object by name as long as any user of it lives.

    It keeps weak references only: when the last user drops the object, the object and its name are gone,
    and the next :meth:`get` of that name makes a new one. So no object outlives the connections, or the
    tests, that share it.

    Args:
        make: called with the name, makes the object.
    """

    def __init__(self, make: Callable[[str], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._objects: WeakValueDictionary[str, T] = WeakValueDictionary()

    def get(self, name: str) -> T:
        """Return the object of that name, made now unless it exists."""
        with self._lock:
            found = self._objects.get(name)
            if found is None:
                found = self._make(name)
                self._objects[name] = found
            return found

    def put(self, name: str, shared: T) -> None:
        """Share an object under a name that is not in use. Raises ValueError if the name is in use."""
        with self._lock:
            if name in self._objects:
                raise ValueError(f"the name {name!r} is in use")
            self._objects[name] = shared
