"""Counts the work that Redis refuses for one queue or the delayed set, so that the other queues go on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from redis.exceptions import NoPermissionError

from gearmesh.backoff import Backoff
from gearmesh.redis_client.wrong_type import WrongType

__all__ = ["FAULTS", "QueueFaults"]

log = logging.getLogger("gearmesh.redis")

#: Refusals that concern some keys and not the connection. They end when an operator corrects the key or the permission.
FAULTS: Final = (WrongType, NoPermissionError)
#: Seconds until the next attempt after a refusal: the first pause, and the longest.
FIRST_PAUSE_S, MAX_PAUSE_S = 1.0, 30.0


class QueueFaults:
    """Counts the refusals of each piece of work. Belongs to its channel's thread."""

    def __init__(self) -> None:
        self._pauses: dict[str, Backoff] = {}

    def note(self, what: str, exc: BaseException) -> float:
        """Log that Redis refuses some work, less often as it goes on; return the seconds until the next attempt."""
        pauses = self._pauses.setdefault(what, Backoff(FIRST_PAUSE_S, MAX_PAUSE_S))
        pause = pauses.next()
        if pauses.count & (pauses.count - 1) == 0:
            log.error("%s: %s (try %d)", what, exc, pauses.count)
        return pause

    def tried(self, what: str, work: Callable[[], float | None]) -> float:
        """Do some work, and return the seconds until it is due again. A refusal is logged, with growing pauses."""
        try:
            pause = work()
        except FAULTS as exc:
            return self.note(what, exc)
        self.over(what)
        return pause or 0.0

    def over(self, what: str) -> None:
        """Note that the work succeeded."""
        if self._pauses and self._pauses.pop(what, None) is not None:
            log.info("%s: it works again", what)
