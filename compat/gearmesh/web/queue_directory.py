"""Finds the queues: the app's queues at once, and the broker's other queues by a walk through its keys."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from gearmesh.app.app import App
from gearmesh.errors import GearmeshError
from gearmesh.inspection.broker import app_queues
from gearmesh.web.broker_reader import BrokerReader

__all__ = ["QueueDirectory"]

#: Number of keys that one step of the walk reads.
STEP_KEYS: Final = 1000
#: Seconds that one page view spends on the walk.
VIEW_BUDGET_S: Final = 0.05
#: Seconds between the end of a walk and the next one.
WALK_INTERVAL_S: Final = 30.0
#: Number of queues that a walk keeps.
MAX_QUEUES: Final = 2000


class QueueDirectory:
    """Finds the names of the queues that the dashboard shows. Each page view continues the walk for a moment, so that
    its work is bounded.

    Args:
        app: the app, whose queues are always listed.
        broker: the broker that the walk reads.
        named: further queues that the user named.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        app: App,
        broker: BrokerReader,
        named: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._broker = broker
        self._named = set(named)
        self._clock = clock
        self._lock = threading.Lock()
        self._cursor = ""
        #: queues that the present walk has found, and those that the last complete walk found
        self._now: set[str] = set()
        self._last: set[str] = set()
        self._ended: float | None = None
        self._walking = True

    @property
    def complete(self) -> bool:
        """True after the end of the first walk, when all queues are known."""
        return self._ended is not None

    def names(self) -> list[str]:
        """Go on with the walk, and return the names of all queues known so far, sorted.

        Raises:
            GearmeshError: the broker cannot be reached.
        """
        if self._broker.abilities().pages:
            self._broker.ask("walk queues", self._advance)
        with self._lock:
            return sorted({*app_queues(self._app), *self._named, *self._now, *self._last})

    def first(self, count: int) -> list[str]:
        """The first ``count`` queues: the app's and the named queues, then the others. Raises GearmeshError."""
        names = self.names()
        own = {*app_queues(self._app), *self._named}
        return sorted(names, key=lambda name: (name not in own, name))[:count]

    def _advance(self, channel: Any) -> None:
        until = self._clock() + VIEW_BUDGET_S
        with self._lock:
            if not self._walking and self._ended is not None:
                if self._clock() - self._ended < WALK_INTERVAL_S:
                    return
                self._walking = True
            while self._walking:
                try:
                    self._cursor, found = channel.walk_queues(self._cursor, STEP_KEYS)
                except GearmeshError:  # the broker does not know the cursor any more: begin again
                    self._cursor, found = "", set()
                if len(self._now) < MAX_QUEUES:
                    self._now |= found
                if not self._cursor:
                    self._last, self._now = self._now, set()
                    self._ended = self._clock()
                    self._walking = False
                if self._clock() >= until:
                    return
