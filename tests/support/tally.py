"""Counts in several threads at once."""

from __future__ import annotations

import threading
from collections import Counter

__all__ = ["Tally"]


class Tally(Counter[str]):
    """A Counter whose :meth:`add` loses nothing when threads call it at the same moment, as ``+=`` does."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def add(self, name: str, count: int = 1) -> None:
        """Count ``count`` more of ``name``."""
        with self._lock:
            self[name] += count
