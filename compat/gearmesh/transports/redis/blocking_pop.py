"""Blocking pops: one connection a queue, on which Redis answers when a message comes."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any, Final

from redis.exceptions import AskError, ResponseError

from gearmesh.interfaces.commit import Commit, Delivery, Settle
from gearmesh.redis_client.runner import source
from gearmesh.redis_client.wrong_type import named, packed
from gearmesh.transports.redis.connection import ConnectedChannel
from gearmesh.transports.redis.fetching import Fetcher
from gearmesh.transports.redis.queue_faults import FAULTS

__all__ = ["BlockingPop"]

#: Messages that a wait fetches, at most: the one that ends it, and one more if there are others.
MAX_FETCHED: Final = 2


class BlockingPop:
    """A connection that blocks on one queue: ``BLMOVE`` moves a message into the list that has arrived for the
    consumer.

    The script that fetches what has arrived goes out with it. Redis runs it when the wait is over, so the message comes
    with the answer, and a task does not wait for another round trip.
    """

    def __init__(self, channel: ConnectedChannel, fetcher: Fetcher, queue: str) -> None:
        self.channel = channel
        self._fetcher = fetcher
        self.queue = queue
        self.type = f"WAIT {queue}"
        self._pool = channel.wait_pool(queue)
        self.connection = self._pool.get_connection()
        #: a wait whose reply has not come by then (monotonic) never will: the connection is half-open
        self.overdue_at = float("inf")
        #: how many replies are still to come, and those that have
        self._missing = 0
        self._replies: list[Any] = []
        #: the wait as it is sent, and its seconds
        self._packed: tuple[float, list[bytes]] = (0.0, [])

    @property
    def armed(self) -> bool:
        return self._missing > 0

    def arm(self, seconds: float) -> None:
        """Wait for a message. The same write registers the consumer, so that it can be reaped while it waits."""
        self._follow()
        self._missing, self._replies = 2, []
        self.overdue_at = time.monotonic() + seconds + 15
        self.channel.unacked.waiting(self.queue)  # forgets those that are over
        self.channel.unacked.waits.add((self.overdue_at, self.queue))
        if self._packed[0] != seconds:
            self._packed = seconds, self._pack(seconds)
        commands = self._packed[1]
        if self.channel.waits_fetch:
            self._missing = 3
            commands = [*commands, self._fetch()]
        self.connection.send_packed_command(commands)

    def _pack(self, seconds: float) -> list[bytes]:
        """Pack a wait. Each is sent while a task waits for the interpreter's lock, so it is packed once."""
        keys, consumer = self.channel.keys(self.queue), self.channel.consumer
        commands: list[bytes] = self.connection.pack_commands(
            [
                ("HINCRBY", keys.consumers, consumer, 1),
                ("BLMOVE", self.queue, keys.arrived(consumer), "LEFT", "RIGHT", f"{seconds:.3f}"),
            ]
        )
        return commands

    def _fetch(self) -> bytes:
        """Pack the call of the script that takes what has arrived."""
        most = max(1, min(MAX_FETCHED, self.channel.qos.credit()))
        first, keys, arguments = self._fetcher.request(self.queue, most)
        self._fetcher.awaited[self.queue] = range(first, first + most)
        return packed(("EVALSHA", source("fetch")[1], len(keys), *keys, *arguments))

    def _follow(self) -> None:
        """Connect to the server that has the queue now."""
        pool = self.channel.wait_pool(self.queue)
        if pool is not self._pool:
            self.drop()
            self.release()
            self._pool = pool
            self.connection = pool.get_connection()

    def release(self) -> None:
        """Give the connection back."""
        self._pool.release(self.connection)

    def read(self) -> bool:
        """Read the replies that have come, and deliver the messages that are in them; True if there was one."""
        if not self.armed:  # nothing was asked: the server has closed the connection
            self.drop()
            return False
        try:
            while self._missing:
                self._replies.append(self._read_one())
                self._missing -= 1
                if self._missing and not self.connection.can_read(timeout=0):
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
        channel, numbers = self.channel, self._over()
        moved, fetched = self._replies[1], self._replies[2] if numbers else None
        if fetched is not None:
            return self._take(numbers, fetched)
        if moved is None:
            channel.ready.discard(self.queue)
            return False
        channel.ready.add(self.queue)
        if not channel.qos.can_consume():
            # The wait began when there was room, and there is none now: another consumer may have some.
            arrived = channel.keys(self.queue).arrived(channel.consumer)
            channel.redis.lmove(arrived, self.queue, "RIGHT", "LEFT")
        return False

    def _read_one(self) -> Any:
        """Read a reply; None for that of the script if it failed, since the message lies where the next fetch looks."""
        try:
            return self.connection.read_response()
        except ResponseError:
            if len(self._replies) < 2:
                raise
            return None

    def _take(self, numbers: range, fetched: Any) -> bool:
        """Deliver the messages that the wait has fetched, and return those for which there is no room any more; True if
        any was delivered."""
        room = max(0, self.channel.qos.credit())
        messages = self._fetcher.taken(self.queue, numbers[0], fetched)
        if len(messages) == len(numbers):
            self.channel.ready.add(self.queue)
        else:
            self.channel.ready.discard(self.queue)
        self._fetcher.undelivered.extend(messages[:room])
        if messages[room:]:
            self.channel.commit([Commit(settle=Settle(each.delivery, "head")) for each in messages[room:]])
        return self._fetcher.deliver()

    def _over(self) -> range:
        """Forget the wait, of which the server knows nothing more; return the numbers that it had for messages."""
        self.channel.unacked.waits.discard((self.overdue_at, self.queue))
        self.overdue_at = float("inf")
        return self._fetcher.awaited.pop(self.queue, range(0))

    def _refused(self, exc: ResponseError) -> None:
        """Put a queue off for which Redis refuses to wait, so that the others go on. Raise an error that has another
        cause."""
        channel = self.channel
        keys = channel.keys(self.queue)
        kinds = [(self.queue, "list"), (keys.arrived(channel.consumer), "list"), (keys.consumers, "hash")]
        fault = named(channel.redis, exc, kinds)
        if not isinstance(fault, FAULTS):
            raise exc
        self._fetcher.put_off(self.queue, fault)

    def drop(self) -> None:
        """Forget the connection's state; the next wait begins anew.

        The server may not know yet, and still move a message: so the queue is worth a look, and the wait stays
        among those of the unacked deliveries. It may have fetched one, too.
        """
        if self._fetcher.awaited.pop(self.queue, None) is not None:
            self._fetcher.unsure = True
        self._missing = 0
        self.overdue_at = float("inf")
        self.channel.ready.add(self.queue)
        self.channel.connection.cycle.forget(self)
        self.connection.disconnect()

    def end(self, until: float) -> list[Delivery]:
        """Drop the connection, and see to it that the server has given up the wait, so that nothing comes any more.

        It closes its side once it has seen ours closed; then the wait is forgotten. If that has not
        happened by ``until`` (monotonic), it stays there.

        Returns:
            The deliveries that the wait may have fetched, of which no reply was read.
        """
        fetched: list[Delivery] = []
        sock = self.connection._sock
        if self.armed and sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(max(0.001, until - time.monotonic()))
                while sock.recv(4096):
                    pass
                consumer = self.channel.consumer
                fetched = [Delivery(queue=self.queue, consumer=consumer, id=each) for each in self._over()]
        self.drop()
        return fetched
