"""What a child runs, readable by its supervisor at any moment, also after the child's death."""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from collections.abc import MutableSequence
from typing import cast

__all__ = ["Board"]


#: Numbers before those of the slots: the deadline, since when a suspect runs alone, whether there was too much memory.
HEADER = 3


class Board:
    """Memory shared by two processes: the fetch counters of the jobs that run, a deadline, and evidence.

    A child writes a number as it begins a job and another as it ends: no call, nothing to read for the supervisor
    until it wants to know. What lies here survives the child's death, whatever it died of.

    Args:
        file: descriptor of a file for it; the other process maps the same.
        slots: how many jobs may run at a time.
    """

    def __init__(self, file: int, slots: int) -> None:
        size = 8 * (HEADER + slots)
        if os.fstat(file).st_size < size:
            os.ftruncate(file, size)
        self._numbers = memoryview(mmap.mmap(file, size)).cast("q")
        #: One place a slot: the fetch counter of what it runs, 0 for nothing.
        self.places = cast("MutableSequence[int]", self._numbers[HEADER:])

    @property
    def running(self) -> list[int]:
        """Fetch counters of what runs."""
        return [number for number in self.places if number]

    @property
    def deadline(self) -> float:
        """When the job that runs must have ended, by the monotonic clock all processes share; infinity: never."""
        return self._numbers[0] / 1e9 or float("inf")

    @property
    def alone_for(self) -> float:
        """Seconds since the last suspect began to run alone; infinity: none did."""
        return (time.monotonic_ns() - self._numbers[1]) / 1e9 if self._numbers[1] else float("inf")

    def alone(self) -> None:
        """A suspect begins to run."""
        self._numbers[1] = time.monotonic_ns()

    @property
    def greedy(self) -> bool:
        """The process used more memory than it may."""
        return bool(self._numbers[2])

    @greedy.setter
    def greedy(self, value: bool) -> None:
        self._numbers[2] = value

    def limit(self, seconds: float) -> None:
        """Set the deadline, that many seconds from now; 0: none."""
        self._numbers[0] = time.monotonic_ns() + int(seconds * 1e9) if seconds else 0


def shared_file() -> int:
    """The descriptor of a file without a name."""
    with tempfile.TemporaryFile(prefix="gearmesh-board-") as file:
        return os.dup(file.fileno())
