"""Growing pauses between tries, and a log that does not repeat itself."""

from __future__ import annotations

import logging

__all__ = ["LONGEST", "Pauses"]


#: Seconds between two tries to reach a server, at the most: little to ask of one that is away, and what waits for it
#: (tasks of the dead among it) waits no longer once it is back.
LONGEST = 1.0


class Pauses:
    """Seconds to wait: from ``first``, doubling up to ``most``."""

    def __init__(self, first: float = 0.05, most: float = LONGEST) -> None:
        self._pause = self._first = first
        self._most = most
        #: how many pauses there were since the last success
        self.count = 0

    def next(self) -> float:
        """The next pause."""
        pause = self._pause
        self._pause = min(self._most, pause * 2)
        self.count += 1
        return pause

    def reset(self) -> None:
        """It worked."""
        self._pause, self.count = self._first, 0

    def log(self, log: logging.Logger, what: str, exc: BaseException) -> None:
        """Warn at the first, second, fourth, eighth … try."""
        if self.count & (self.count - 1) == 0:
            log.warning("%s: %s (try %d)", what, exc, self.count + 1)
