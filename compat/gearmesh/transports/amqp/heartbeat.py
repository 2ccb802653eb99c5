"""Background thread of one connection: sends heartbeats and returns the deliveries of silent consumers.

A consumer is silent if its thread is stuck in a living process. RabbitMQ itself returns the deliveries of a process
that has ended or stands still.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

from amqp.exceptions import AMQPError

if TYPE_CHECKING:
    from gearmesh.transports.amqp.protocols import ConnectionPort

__all__ = ["HeartbeatThread"]

log = logging.getLogger("gearmesh.amqp")

#: The longest pause between two checks, in seconds.
_MAX_CHECK_INTERVAL_S: Final = 5.0


class HeartbeatThread:
    """Sends heartbeats while the connection's owner is busy, and returns the deliveries of silent consumers.

    The thread ends with the connection.
    """

    def __init__(self, link: ConnectionPort) -> None:
        self._link = weakref.ref(link)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        #: consumer -> monotonic time of its last sign of life, and the seconds for which it has been silent
        self._silent: dict[str, tuple[float, float]] = {}
        self._looked_at = 0.0

    def start(self) -> None:
        """Start the thread, unless it was started or stopped before."""
        if self._thread is None and not self._over.is_set():
            self._thread = threading.Thread(target=self._loop, name="gearmesh-amqp-heartbeat", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread. A thread that was not started yet never starts."""
        self._over.set()

    def _loop(self) -> None:
        pause = 0.05
        self._looked_at = time.monotonic()
        while not self._over.wait(pause):
            link = self._link()
            if link is None:
                return
            try:
                pause = self._look(link)
            except (AMQPError, OSError) as exc:
                link.fail(exc)
                if link.lingering:
                    with contextlib.suppress(AMQPError, OSError):
                        link.collect()
                return
            del link

    def _look(self, link: ConnectionPort) -> float:
        link.maintain()
        if link.lingering:
            link.pump()  # no other thread reads it
            link.close_if_settled()
        pause = min(_MAX_CHECK_INTERVAL_S, link.heartbeat / 4 if link.heartbeat else _MAX_CHECK_INTERVAL_S)
        now = time.monotonic()
        elapsed, self._looked_at = now - self._looked_at, now
        for channel in list(link.consuming):
            if not channel.heartbeats or not channel.unacked.held:
                self._silent.pop(channel.consumer, None)
                continue
            alive_at = channel.unacked.alive_at
            since, silent = self._silent.get(channel.consumer, (alive_at, 0.0))
            # Only watched time counts: the cause that stopped the consumer may have stopped this thread, too.
            step = min(1.5, channel.lease / 4)
            # A resting owner waits for messages: its consumers are alive.
            silent = 0.0 if link.resting or since != alive_at else silent + min(elapsed, 2 * step)
            self._silent[channel.consumer] = alive_at, silent
            if silent >= channel.lease:
                count = channel.return_unacked()
                log.warning(
                    "consumer %s has been silent for %g s: returned %d of its messages",
                    channel.consumer,
                    channel.lease,
                    count,
                )
                self._silent.pop(channel.consumer, None)
            pause = min(pause, step)
        return pause
