"""Makes a RabbitMQ connection a part of kombu's event loop.

Without the loop, Celery's pool processes share one queue of jobs and one lock for it. If a process is killed while it
holds the lock, all others wait forever.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

from gearmesh.transports.amqp.connection import AMQPConnection

__all__ = ["EventLoopConnection", "EventLoopMembership"]

#: Rounds of deliveries in one tick; the limit leaves time for the loop's other work.
MAX_ROUNDS_PER_TICK: Final = 16


class EventLoopConnection(AMQPConnection):
    """A connection that can wake an event loop."""

    def wake_fd(self) -> int:
        """The descriptor that becomes readable by :meth:`wake`, until :meth:`rest`."""
        return self._wake_read.fileno()


class EventLoopMembership:
    """One connection's part in one event loop, from :meth:`join` until the connection is closed or broken.

    Args:
        drain: delivers the messages that have arrived; raises TimeoutError if none has arrived.
    """

    def __init__(self, connection: EventLoopConnection, loop: Any, drain: Callable[[], None]) -> None:
        self._connection = connection
        self._loop = loop
        self._drain = drain
        self._fds = (connection.sock.fileno(), connection.wake_fd())
        #: the timer that makes the loop tick when a channel has work, and its time on the monotonic clock
        self._alarm: Any = None
        self._alarm_at = float("inf")

    def join(self) -> None:
        """Join the loop, so that a frame from RabbitMQ or a call of ``wake`` makes the loop call :meth:`tick`."""
        socket, woken = self._fds
        self._loop.add_reader(socket, lambda: None)
        self._loop.add_reader(woken, self._connection.rest, 0)
        self._loop.on_tick.add(self.tick)

    def leave(self) -> None:
        """Take the connection out of the loop. A second call does nothing."""
        self._loop.on_tick.discard(self.tick)
        self._disarm()
        for fd in self._fds:
            with contextlib.suppress(KeyError, ValueError, OSError):  # kombu has reset the loop
                self._loop.remove(fd)

    def tick(self) -> None:
        """Deliver messages, and schedule the next tick.

        After an error the connection leaves the loop. Raises the transport's connection errors; kombu then reconnects
        and joins again.
        """
        if self._connection.released:
            self.leave()
            return
        try:
            more = self._deliver()
        except BaseException:
            self.leave()
            raise
        now = time.monotonic()
        due = now if more else min((each.due() for each in self._connection.consuming), default=float("inf"))
        if due == float("inf") or (due > now and due >= self._alarm_at - 0.001):
            return
        self._disarm()
        if due > now:
            self._alarm_at = due
            self._alarm = self._loop.call_later(due - now, self._disarm)
        self._connection.wake()  # the loop has already chosen its sleep, which may be too long

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
