"""Blocking pops: one connection for each queue, on which Redis replies when a message comes."""

from __future__ import annotations

import contextlib
import socket
import time

from redis.exceptions import AskError, ResponseError

from gearmesh.redis_client.wrong_type import named
from gearmesh.transports.redis.connection import ConnectedChannel
from gearmesh.transports.redis.fetching import Fetcher
from gearmesh.transports.redis.queue_faults import FAULTS

__all__ = ["WAIT", "BlockingPop"]

#: Beginning of the type by which kombu's poller knows a waiting connection; the name of the queue follows.
WAIT = "WAIT "


class BlockingPop:
    """A connection that blocks on one queue: ``BLMOVE`` moves a message to the consumer's arrived ones."""

    def __init__(self, channel: ConnectedChannel, fetcher: Fetcher, queue: str) -> None:
        self.channel = channel
        self._fetcher = fetcher
        self.queue = queue
        self.type = WAIT + queue
        self._pool = channel.wait_pool(queue)
        self.connection = self._pool.get_connection()
        #: monotonic time after which the reply of a wait never comes, because the connection is half-open
        self.overdue_at = float("inf")
        self._replies = 0
        #: the seconds of a wait, and its packed commands
        self._packed: tuple[float, list[bytes]] = (0.0, [])

    @property
    def armed(self) -> bool:
        return self._replies > 0

    def arm(self, seconds: float) -> None:
        """Begin to wait for a message. The same write registers the consumer, so that others can reap it meanwhile."""
        self._follow()
        self._replies = 2
        self.overdue_at = time.monotonic() + seconds + 15
        self.channel.unacked.waiting(self.queue)  # forgets the waits that are over
        self.channel.unacked.waits.add((self.overdue_at, self.queue))
        if self._packed[0] != seconds:
            self._packed = seconds, self._pack(seconds)
        self.connection.send_packed_command(self._packed[1])

    def _pack(self, seconds: float) -> list[bytes]:
        """Pack the commands of a wait. They are packed once, because tasks wait for the GIL while a wait is sent."""
        keys, consumer = self.channel.keys(self.queue), self.channel.consumer
        packed: list[bytes] = self.connection.pack_commands(
            [
                ("HINCRBY", keys.consumers, consumer, 1),
                ("BLMOVE", self.queue, keys.arrived(consumer), "LEFT", "RIGHT", f"{seconds:.3f}"),
            ]
        )
        return packed

    def _follow(self) -> None:
        """Connect to the server that has the queue now."""
        pool = self.channel.wait_pool(self.queue)
        if pool is not self._pool:
            self.drop()
            self.release()
            self._pool = pool
            self.connection = pool.get_connection()

    def release(self) -> None:
        """Return the connection to its pool."""
        self._pool.release(self.connection)

    def read(self) -> bool:
        """Read the replies that have come; True once the wait is over, with a message or without."""
        if not self.armed:  # no wait was sent: the server has closed the connection
            self.drop()
            return False
        try:
            while self._replies:
                reply = self.connection.read_response()
                self._replies -= 1
                if self._replies and not self.connection.can_read(timeout=0):
                    return False
        except AskError:  # the queue is on another node of the cluster now
            self.drop()
            self.channel.moved()
            return False
        except ResponseError as exc:
            self.drop()
            self._refused(exc)
            return False
        except BaseException:
            self.drop()
            raise
        channel = self.channel
        channel.unacked.waits.discard((self.overdue_at, self.queue))
        self.overdue_at = float("inf")
        if reply is None:
            channel.ready.discard(self.queue)
            return True
        channel.ready.add(self.queue)
        channel.arrived.add(self.queue)
        return True

    def _refused(self, exc: ResponseError) -> None:
        """Put off the queue if Redis refuses one of its keys, so that the other queues go on; raise any other error."""
        channel = self.channel
        keys = channel.keys(self.queue)
        kinds = [(self.queue, "list"), (keys.arrived(channel.consumer), "list"), (keys.consumers, "hash")]
        fault = named(channel.redis, exc, kinds)
        if not isinstance(fault, FAULTS):
            raise exc
        self._fetcher.put_off(self.queue, fault)

    def drop(self) -> None:
        """Forget the connection's state; the next wait begins anew.

        The server may not have noticed the end of the connection, and may still move a message. So the channel fetches
        from the queue once more, and the wait stays in ``unacked.waits``.
        """
        self._replies = 0
        self.overdue_at = float("inf")
        self.channel.ready.add(self.queue)
        self.channel.connection.cycle.forget(self)
        self.connection.disconnect()

    def end(self, until: float) -> None:
        """End the wait on the server, so that it moves no more messages, and drop the connection.

        The server closes its side of the connection once it has seen that ours is closed. Then the wait leaves
        ``unacked.waits``; if the server has not closed by ``until`` (monotonic), it stays there.
        """
        sock = self.connection._sock
        if self.armed and sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(max(0.001, until - time.monotonic()))
                while sock.recv(4096):
                    pass
                self.channel.unacked.waits.discard((self.overdue_at, self.queue))
        self.drop()
