"""The kombu transport: one poller for blocking waits, pub/sub, wake-ups and the keeper's clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kombu.transport import redis as kombu_redis

from gearmesh.transports.redis.channel import Channel, Waiter

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Transport"]


class Poller(kombu_redis.MultiChannelPoller):  # type: ignore[misc]
    """kombu's poller; instead of one BRPOP a channel it arms one BLMOVE a queue, and only while there is credit."""

    def __init__(self) -> None:
        super().__init__()
        #: what kombu's poller keeps, here with the types of what is in it
        self._fd_to_chan: dict[int, tuple[Channel, str]] = {}
        self._chan_to_sock: dict[tuple[Channel, Any, str], Any] = {}

    def _watch_wakeups(self, channel: Channel) -> None:
        fd = channel.wake_fd
        if fd not in self._fd_to_chan:
            self._fd_to_chan[fd] = (channel, "WAKE")
            channel.handlers["WAKE"] = channel.on_wake
            self.poller.register(fd, self.eventflags)

    def discard(self, channel: Channel) -> None:
        super().discard(channel)
        self._fd_to_chan = {fd: entry for fd, entry in self._fd_to_chan.items() if entry[0] is not channel}
        self._chan_to_sock = {k: sock for k, sock in self._chan_to_sock.items() if k[0] is not channel}

    def _arm(self, channel: Channel, waiter: Waiter) -> None:
        ident = (channel, waiter, waiter.type)
        sock = waiter.connection._sock
        if sock is None or self._chan_to_sock.get(ident) is not sock:
            self._register(*ident)
        waiter.arm(min(10.0, channel.lease / 3))

    def on_poll_start(self) -> bool:
        """Fetch and deliver what there is, and arm waits for the rest; True if anything was delivered."""
        delivered = False
        for channel in list(self._channels):
            if channel.active_fanout_queues:
                self._register_LISTEN(channel)
            queues = channel.active_queues
            if not queues:
                continue
            self._watch_wakeups(channel)
            if time.monotonic() >= channel.keeper.next():
                delivered = channel.keeper.run() or delivered
            if channel.qos.can_consume():
                delivered = channel.take() or delivered
                if delivered or not channel.qos.can_consume():
                    continue
                for queue in queues:
                    waiter = channel.waiter(queue)
                    if queue not in channel.ready and not waiter.armed and not channel.keeper.waits(queue):
                        self._arm(channel, waiter)
        return delivered

    def on_readable(self, fileno: int) -> Any:
        entry = self._fd_to_chan.get(fileno)
        if entry is None:
            return None
        channel, kind = entry
        return channel.handlers[kind]()

    def step(self, timeout: float | None) -> bool:
        """One round: deliver, or wait up to ``timeout`` seconds for a reason to; True if delivered."""
        self._in_protected_read = True
        try:
            if self.on_poll_start():
                return True
            for fileno, event in self.poller.poll(self._patience(timeout)) or ():
                entry = self._fd_to_chan.get(fileno)
                if entry is None:
                    continue
                if event & kombu_redis.READ:
                    if self.on_readable(fileno) and entry[1] == "LISTEN":
                        return True
                else:
                    self._broken(entry)
            return False
        finally:
            self._in_protected_read = False
            while self.after_read:
                self.after_read.pop()()

    @staticmethod
    def _broken(entry: tuple[Channel, str]) -> None:
        channel, kind = entry
        if kind == "LISTEN":
            channel._poll_error(kind)
        else:
            channel.handlers[kind]()

    def _patience(self, timeout: float | None) -> float | None:
        """How long to wait: no longer than until a keeper has work or a silent wait is overdue."""
        now = time.monotonic()
        for channel in self._channels:
            if not channel.active_queues:
                continue
            due = channel.keeper.next()
            for waiter in channel.waiters.values():
                if waiter.armed:
                    overdue = waiter.armed_at + channel.lease / 3 + 15
                    if now > overdue:  # a half-open connection never becomes readable
                        waiter.drop()
                    due = min(due, overdue)
            timeout = max(0.0, due - now) if timeout is None else min(timeout, max(0.0, due - now))
        return timeout

    def get(self, callback: Callable[..., Any], timeout: float | None = None) -> None:
        """kombu's name for :meth:`step`."""
        if not self.step(timeout):
            raise kombu_redis.Empty


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    """``redis://`` as Machinery uses it. Use it with ``kombu.Connection(transport=Transport)``."""

    Channel = Channel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Deliver what comes.

        Raises:
            TimeoutError: nothing came within ``timeout`` seconds (None: no limit), or ``wake()`` was called.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if self.cycle.step(left if left is None else max(0.0, left)):
                return
            woken = [channel for channel in self.channels if getattr(channel, "woken", False)]
            for channel in woken:
                channel.woken = False
            if woken or (left is not None and left <= 0):
                raise TimeoutError

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Join kombu's event loop: deliveries happen in its ticks."""
        super().register_with_event_loop(connection, loop)
        pause = connection.client.transport_options.get("delayed_poll", Channel.delayed_poll)
        old = getattr(self.cycle, "keeper_tref", None)
        if old is not None:
            old.cancel()
        # A tick runs the keeper; without this an idle loop would not tick.
        self.cycle.keeper_tref = loop.call_repeatedly(pause, lambda: None)
