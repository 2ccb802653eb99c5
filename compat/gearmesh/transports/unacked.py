"""The unacked deliveries of one consumer, as the consumer knows them."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections import Counter
from collections.abc import Callable

from gearmesh.interfaces.commit import Delivery

__all__ = ["UnackedDeliveries", "consumer_name", "process_name"]


def process_name(prefix: str = "") -> str:
    """Return a name by which people know this process: ``prefix``, or else its host and process id."""
    return prefix or f"{socket.gethostname()}:{os.getpid()}"


def consumer_name(prefix: str = "") -> str:
    """Make a name that no other run of any process has.

    Args:
        prefix: the part of the name by which people know the process; "": host name and process id.
    """
    return f"{process_name(prefix)}:{uuid.uuid4().hex[:12]}"


class UnackedDeliveries:
    """Records the deliveries that a consumer has received and not settled.

    It outlives channels: a worker that reconnects goes on under the same name and with the same deliveries, and its
    committer settles through another channel. Single operations are safe in threads.

    Args:
        consumer: the name under which the consumer takes messages, unique to one run of one process; None: a new one.
    """

    def __init__(self, consumer: str | None = None) -> None:
        self.consumer = consumer or consumer_name()
        #: Unacked deliveries by id.
        self.open: dict[int, Delivery] = {}
        #: The number of deliveries that were lost together with their connection.
        self.losses = 0
        #: Ends the wait of the channel that fetches; None: no channel fetches.
        self.wake: Callable[[], None] | None = None
        self._reaped: Counter[str] = Counter()
        self._reaped_lock = threading.Lock()

    def count_reaped(self, queue: str, count: int) -> None:
        """Count deliveries of silent consumers that a channel of this consumer has returned to their queue."""
        with self._reaped_lock:
            self._reaped[queue] += count

    def take_reaped(self) -> dict[str, int]:
        """Return the numbers that :meth:`count_reaped` has counted since the last call, by queue."""
        if not self._reaped:
            return {}
        with self._reaped_lock:
            reaped, self._reaped = self._reaped, Counter()
        return dict(reaped)

    def orphaned(self, id: int) -> bool:
        """True if the delivery was lost with its connection, so that the broker redelivers its message."""
        return False
