"""One poller for blocking pops, pub/sub, wake-ups and the periodic work of channels."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

from kombu.transport import redis as kombu_redis

from gearmesh.transports.redis.blocking_pop import WAIT, BlockingPop
from gearmesh.transports.redis.channel import Channel

__all__ = ["Poller"]

#: Rounds of deliveries in one tick of kombu's event loop, which has other work to do.
MAX_ROUNDS_PER_TICK = 16


class Poller(kombu_redis.MultiChannelPoller):  # type: ignore[misc]
    """kombu's poller; instead of one BRPOP a channel it arms one BLMOVE a queue, and only while the channel has credit.

    It either waits itself (:meth:`step`) or is a part of kombu's event loop (:meth:`join_loop`).
    """

    def __init__(self) -> None:
        super().__init__()
        #: attributes of kombu's poller, declared here with their types
        self._fd_to_chan: dict[int, tuple[Channel, str]] = {}
        self._chan_to_sock: dict[tuple[Channel, Any, str], Any] = {}
        self._pid = os.getpid()
        self._loop: Any = None
        self._tick: Any = None
        self._timers: list[Any] = []
        #: the timer that makes the loop tick when a channel has periodic work, and its monotonic time
        self._alarm: Any = None
        self._alarm_at = float("inf")

    # -- kombu's event loop

    def join_loop(self, loop: Any, health: float) -> None:
        """Join ``loop``; ``health``: seconds between checks that the pub/sub connection is alive."""

        def tick() -> None:
            self.on_poll_start()
            for fd in self.fds:
                loop.add_reader(fd, self.on_readable, fd)

        self._loop, self._tick = loop, tick
        self.poller = loop.poller
        loop.on_tick.add(tick)
        work = {
            "maybe_check_subclient_health": health,
            "maybe_reauth": 10.0,
            "maybe_refresh_binding_expiry": 1.0,
        }
        self._timers = [  # the timers that this version of kombu has
            loop.call_repeatedly(pause, getattr(self, name))
            for name, pause in work.items()
            if hasattr(self, name)
        ]

    def leave_loop(self) -> None:
        """Remove this poller's timers and readers from the loop; do nothing without a loop."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        loop.on_tick.discard(self._tick)
        for timer in self._timers:
            timer.cancel()
        self._disarm()
        for fd in list(self._fd_to_chan):
            loop.remove(fd)
        self._fd_to_chan.clear()
        self._chan_to_sock.clear()
        self.poller = kombu_redis.poll()

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None
        self._alarm_at = float("inf")

    def on_poll_start(self) -> None:
        """Deliver in a tick of the loop, and make the loop tick again when a channel has work."""
        more = False
        for _ in range(MAX_ROUNDS_PER_TICK):
            more = self.round()
            if not more:
                break
        patience = 0.0 if more else self._patience(None)
        if patience is None or self._loop is None:
            return
        due = time.monotonic() + patience
        if patience > 0 and due >= self._alarm_at - 0.001:
            return
        self._disarm()
        if patience > 0:
            self._alarm_at = due
            self._alarm = self._loop.call_later(patience, self._disarm)
        # The loop has already decided how long it waits. A wake-up ends its wait.
        for channel in list(self._channels):
            if channel.wake_fd in self._fd_to_chan:
                channel.wake()
                break

    # -- sockets

    def close(self) -> None:
        if os.getpid() == self._pid:  # a forked child shares the parent's epoll
            self.leave_loop()
            super().close()
        self._channels.clear()
        self._fd_to_chan.clear()
        self._chan_to_sock.clear()

    def forget(self, pop: BlockingPop) -> None:
        """Stop watching a connection that is about to be closed.

        The kernel removes a closed socket from the poller only if no forked child has it open.
        """
        ident: Any = (pop.channel, pop, pop.type)
        sock = self._chan_to_sock.pop(ident, None)
        if sock is not None and sock.fileno() >= 0:
            self._unwatch([sock.fileno()])

    def _on_connection_disconnect(self, connection: Any) -> None:
        """Stop watching a connection whose socket redis-py has closed. (kombu's hook.)"""
        gone = {key for key in self._chan_to_sock if key[1].connection is connection}
        for channel, client, kind in gone:
            del self._chan_to_sock[channel, client, kind]
            self._unwatch([fd for fd, entry in self._fd_to_chan.items() if entry == (channel, kind)])

    def _unwatch(self, fds: Iterable[int]) -> None:
        unwatch = self.poller.unregister if self._loop is None else self._loop.remove
        for fd in fds:
            self._fd_to_chan.pop(fd, None)
            if os.getpid() == self._pid:  # a forked child shares the parent's epoll
                unwatch(fd)

    def _watch_wakeups(self, channel: Channel) -> None:
        fd = channel.wake_fd
        if fd not in self._fd_to_chan:
            self._fd_to_chan[fd] = (channel, "WAKE")
            channel.handlers["WAKE"] = channel.on_wake
            self.poller.register(fd, self.eventflags)

    def discard(self, channel: Channel) -> None:
        super().discard(channel)
        self._unwatch([fd for fd, entry in self._fd_to_chan.items() if entry[0] is channel])
        self._chan_to_sock = {k: sock for k, sock in self._chan_to_sock.items() if k[0] is not channel}

    def _arm(self, channel: Channel, pop: BlockingPop) -> None:
        ident = (channel, pop, pop.type)
        sock = pop.connection._sock
        if sock is None or self._chan_to_sock.get(ident) is not sock:
            self._register(*ident)
        pop.arm(min(10.0, channel.lease / 3))

    # -- deliveries

    def round(self) -> bool:
        """Fetch and deliver messages, and arm waits on the empty queues; True if any message was delivered."""
        delivered = False
        now = time.monotonic()
        for channel in list(self._channels):
            if channel.active_fanout_queues:
                self._register_LISTEN(channel)
            queues = channel.active_queues
            if not queues and not channel.unacked.open:
                continue
            self._watch_wakeups(channel)
            for pop in channel.blocking_pops.values():
                if now > pop.overdue_at:  # a half-open connection never becomes readable
                    pop.drop()
            if now >= channel.housekeeping.next() and channel.housekeeping.run():
                delivered = True
            elif not channel.qos.can_consume():
                channel.return_arrived()
            else:
                delivered = channel.fetcher.take() or delivered
                if delivered or not channel.qos.can_consume():
                    continue
                for queue in queues:
                    pop = channel.blocking_pop(queue)
                    if (
                        queue not in channel.ready
                        and not pop.armed
                        and queue not in channel.fetcher.put_off_until
                    ):
                        self._arm(channel, pop)
        return delivered

    def on_readable(self, fileno: int) -> Any:
        channel, kind = self._fd_to_chan.get(fileno, (None, ""))
        return channel.handlers[kind]() if channel is not None else None

    def step(self, timeout: float | None) -> bool:
        """Deliver messages, or wait up to ``timeout`` seconds for an event; True if any message was delivered."""
        self._in_protected_read = True
        try:
            if self.round():
                self._read_waits()
                return True
            for fileno, event in self.poller.poll(self._patience(timeout)) or ():
                entry = self._fd_to_chan.get(fileno)
                if entry is None:
                    self.poller.unregister(fileno)
                    continue
                channel, kind = entry
                if not event & kombu_redis.READ and kind == "LISTEN":
                    channel._poll_error(kind)
                elif self.on_readable(fileno) and kind == "LISTEN":
                    return True
            return False
        finally:
            self._in_protected_read = False
            while self.after_read:
                self.after_read.pop()()

    def _read_waits(self) -> None:
        """Read the waits that are over, so that their queues get a turn despite the backlog of other queues."""
        pops = (pop for channel in self._channels for pop in channel.blocking_pops.values())
        if not any(pop.armed for pop in pops):
            return
        for fileno, _ in self.poller.poll(0) or ():
            _, kind = self._fd_to_chan.get(fileno, (None, ""))
            if kind.startswith(WAIT):
                self.on_readable(fileno)

    def _patience(self, timeout: float | None) -> float | None:
        """Return the seconds until a channel has periodic work or a wait is overdue, but at most ``timeout``."""
        now = time.monotonic()
        waits = [] if timeout is None else [timeout]
        for channel in self._channels:
            if channel.active_queues or channel.unacked.open:
                overdue = (pop.overdue_at for pop in channel.blocking_pops.values())
                waits.append(max(0.0, min(channel.housekeeping.next(), now + 60, *overdue) - now))
        return min(waits, default=None)
