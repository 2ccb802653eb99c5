"""Notes of this process about messages that come back: Pub/Sub keeps none, and their attributes cannot change."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Final

from gearmesh.bounded_dict import BoundedDict
from gearmesh.shared import SharedByName

__all__ = ["NOTES", "MessageNotes", "Note"]

#: Number of messages that a process remembers. It forgets the least recently seen ones, whose notes begin anew.
MAX_NOTED_MESSAGES: Final = 100_000
#: Seconds for which a message of an unknown task is parked the second time. Each further time doubles them, up to the
#: second number.
MIN_PARK_S, MAX_PARK_S = 1.0, 30.0


@dataclass(slots=True)
class Note:
    """Holds this process's knowledge of a message.

    Attributes:
        parked_since: unix seconds at which it was first parked here; 0: never.
        rounds: the number of times that it was parked.
        returned: the number of times that it went to the tail.
        until_ns: unix ns before which no consumer here gets it.
        lost: a consumer of this process lost it.
        dead: it is a dead letter, and stays in its subscription since there is no dead letter topic.
    """

    parked_since: float = 0.0
    rounds: int = 0
    returned: int = 0
    until_ns: int = 0
    lost: bool = False
    dead: bool = False

    def park(self) -> float:
        """Count one more parking, and return its seconds; 0 the first time, so that another worker may get it."""
        self.parked_since = self.parked_since or time.time()
        self.rounds += 1
        return min(MAX_PARK_S, MIN_PARK_S * 2.0 ** min(self.rounds - 2, 16)) if self.rounds > 1 else 0.0


class MessageNotes:
    """Holds the notes about one project's messages. Safe in threads, unless two threads change the same note."""

    def __init__(self, name: str = "") -> None:
        self._lock = threading.Lock()
        self._notes = BoundedDict[tuple[str, str], Note](MAX_NOTED_MESSAGES)
        #: True once there was a note: until then, nothing has to be looked up
        self.used = False

    def find(self, subscription: str, message_id: str) -> Note | None:
        """Return the note about a message; None: there is none."""
        return self._notes.get((subscription, message_id)) if self.used else None

    def of(self, subscription: str, message_id: str) -> Note:
        """Return the note about a message; make it if there is none."""
        self.used = True
        return self._notes.setdefault((subscription, message_id), Note())

    def drop(self, subscription: str, message_id: str) -> None:
        """Forget a message that is settled for good."""
        if self.used:
            self._notes.pop((subscription, message_id))


#: The notes of this process by project.
NOTES: Final = SharedByName(MessageNotes)
