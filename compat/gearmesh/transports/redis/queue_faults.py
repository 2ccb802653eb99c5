"""A fault of one queue, or of the delayed tasks, must not end the work for the other queues."""

from __future__ import annotations

import logging
from typing import Final

from redis.exceptions import NoPermissionError

from gearmesh.backoff import Backoff
from gearmesh.redis_client.wrong_type import WrongType

__all__ = ["FAULTS", "QueueFaults"]

log = logging.getLogger("gearmesh.redis")

#: Refusals that concern some keys and not the connection. They end when somebody mends them.
FAULTS: Final = (WrongType, NoPermissionError)
#: Seconds until the next try: at first, and at most.
FIRST_PAUSE_S, MAX_PAUSE_S = 1.0, 30.0


class QueueFaults:
    """Remembers what cannot be done now. Belongs to its channel's thread."""

    def __init__(self) -> None:
        self._pauses: dict[str, Backoff] = {}

    def note(self, what: str, exc: BaseException) -> float:
        """Log that something cannot be done, more seldom as it goes on; seconds until the next try."""
        pauses = self._pauses.setdefault(what, Backoff(FIRST_PAUSE_S, MAX_PAUSE_S))
        pause = pauses.next()
        if pauses.count & (pauses.count - 1) == 0:
            log.error("%s: %s (try %d)", what, exc, pauses.count)
        return pause

    def over(self, what: str) -> None:
        """It could be done."""
        if self._pauses and self._pauses.pop(what, None) is not None:
            log.info("%s: it works again", what)
