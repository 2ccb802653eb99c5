"""A RabbitMQ connection as a part of kombu's event loop.

Without the loop Celery's processes share one queue of jobs, and the lock in front of it: one that is killed while it
has the lock leaves all others waiting for ever.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

from gearmesh.transports.amqp.connection import AMQPConnection

__all__ = ["LoopedConnection", "Looping"]

#: Rounds of deliveries in one tick, whose loop has others to serve.
MAX_ROUNDS_PER_TICK: Final = 16


class LoopedConnection(AMQPConnection):
    """A connection whose wake-ups a loop can wait for."""

    def wake_fd(self) -> int:
        """Readable after :meth:`wake`, until :meth:`rest`."""
        return self._wake_read.fileno()


class Looping:
    """One connection in one loop, from :meth:`join` until it is closed or broken.

    Args:
        drain: delivers what is there; raises TimeoutError if that is nothing.
    """

    def __init__(self, link: LoopedConnection, loop: Any, drain: Callable[[], None]) -> None:
        self._link = link
        self._loop = loop
        self._drain = drain
        self._fds = (link.sock.fileno(), link.wake_fd())
        #: the timer that makes the loop tick when a channel has work, and when that is
        self._alarm: Any = None
        self._alarm_at = float("inf")

    def join(self) -> None:
        """Be a part of the loop: what wakes it is read by the next tick."""
        socket, woken = self._fds
        self._loop.add_reader(socket, lambda: None)
        self._loop.add_reader(woken, self._link.rest, 0)
        self._loop.on_tick.add(self.tick)

    def leave(self) -> None:
        """Take back all that the loop was asked for. Twice is fine."""
        self._loop.on_tick.discard(self.tick)
        self._disarm()
        for fd in self._fds:
            with contextlib.suppress(KeyError, ValueError, OSError):  # the loop was reset
                self._loop.remove(fd)

    def tick(self) -> None:
        """Deliver, and see to it that there is a next tick in time.

        Raises the transport's connection errors, after having left: who reconnects joins again.
        """
        if self._link.released:
            self.leave()
            return
        try:
            more = self._deliver()
        except BaseException:
            self.leave()
            raise
        now = time.monotonic()
        due = now if more else min((channel.due() for channel in self._link.consuming), default=float("inf"))
        if due == float("inf") or (due > now and due >= self._alarm_at - 0.001):
            return
        self._disarm()
        if due > now:
            self._alarm_at = due
            self._alarm = self._loop.call_later(due - now, self._disarm)
        self._link.wake()  # the loop has settled by now how long to sleep

    def _deliver(self) -> bool:
        for _ in range(MAX_ROUNDS_PER_TICK):
            try:
                self._drain()
            except TimeoutError:
                return False
        return True

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None
        self._alarm_at = float("inf")
