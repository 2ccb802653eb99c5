"""The queues and tasks that are paused: a worker begins no runs of them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from gearmesh.interfaces.commit import Commit, Delivery, Settle

__all__ = ["PAUSED_TASK_DELAY_S", "Pauses"]

#: Seconds for which a message of a paused task is parked before a worker receives it again.
PAUSED_TASK_DELAY_S: Final = 30.0


class Pauses:
    """Holds the names of paused queues and tasks. One thread replaces each set as a whole, and others read it.

    Attributes:
        queues: names of paused queues.
        tasks: names of paused tasks.
    """

    def __init__(self) -> None:
        self.queues: frozenset[str] = frozenset()
        self.tasks: frozenset[str] = frozenset()

    def set(self, queues: Iterable[str], tasks: Iterable[str]) -> None:
        """Pause these, and no others."""
        self.queues, self.tasks = frozenset(queues), frozenset(tasks)

    def put_off(self, delivery: Delivery) -> Commit:
        """Make the Commit that parks a message of a paused task for a moment."""
        return Commit(settle=Settle(delivery, "later", at_ns=time.time_ns() + int(PAUSED_TASK_DELAY_S * 1e9)))
