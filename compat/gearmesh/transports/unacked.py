"""What one consumer knows it holds, whatever broker holds it for it."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable

from gearmesh.interfaces.commit import Delivery

__all__ = ["UnackedDeliveries", "consumer_name"]


def consumer_name(prefix: str = "") -> str:
    """A name no other incarnation of any process has.

    Args:
        prefix: what people know it by; "": host and process id.
    """
    return f"{prefix or f'{socket.gethostname()}:{os.getpid()}'}:{uuid.uuid4().hex[:12]}"


class UnackedDeliveries:
    """The deliveries a consumer knows it holds.

    It outlives channels: a worker that reconnects goes on under its name and with what it held, and its committer
    settles through another channel. Single operations are safe in threads.
    """

    def __init__(self, consumer: str | None = None) -> None:
        self.consumer = consumer or consumer_name()
        #: delivery id -> delivery
        self.open: dict[int, Delivery] = {}
        #: how many deliveries were lost with the connection that brought them
        self.losses = 0
        #: ends the wait of the channel that fetches
        self.wake: Callable[[], None] | None = None

    def orphaned(self, id: int) -> bool:
        """The delivery was lost with its connection: the broker gives it to somebody, perhaps to this consumer."""
        return False
