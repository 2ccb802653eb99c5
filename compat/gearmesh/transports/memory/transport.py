"""The memory transport: connects to a broker of this process, and waits without polling."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from kombu.transport import base, virtual

from gearmesh.transports.memory.broker import BROKERS, Broker
from gearmesh.transports.memory.channel import Channel as MemoryChannel

__all__ = ["Transport"]

#: Longest single wait in seconds; the system refuses much longer ones.
MAX_WAIT_S: Final = 3600.0


class Transport(virtual.Transport):  # type: ignore[misc]
    """A kombu transport. Transport option ``broker``: a :class:`Broker` to use, whatever the URL says."""

    Channel = MemoryChannel
    can_parse_url = True
    driver_type = "memory"
    driver_name = "memory"
    implements = base.Transport.implements.extend(
        asynchronous=False, exchange_type=frozenset({"direct", "topic", "fanout"}), heartbeats=False
    )
    channels: list[MemoryChannel]

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        options = client.transport_options
        name = (client.hostname or "").partition("://")[2].strip("/")
        self.broker: Broker = options.get("broker") or BROKERS.get(name)
        client.broker = self.broker  # keeps it alive: kombu throws this transport away when it reconnects
        self.state = self.broker.exchanges

    def driver_version(self) -> str:
        return "1"

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        return f"memory://{self.broker.name}"

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Deliver what there is to this connection's consumers; wait for it if there is nothing.

        Args:
            timeout: seconds to wait; None waits for ever, zero does not wait.

        Raises:
            TimeoutError: nothing came, or a channel was woken.
        """
        self.drain(self.channels, timeout)

    def drain(self, channels: Sequence[MemoryChannel], timeout: float | None) -> None:
        """:meth:`drain_events` for some of the channels."""
        changed = self.broker.changed
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with changed:
                now = time.monotonic()
                pauses = [MAX_WAIT_S]
                due = self.broker.advance()
                if due is not None:
                    pauses.append(due)
                got = []
                for channel in list(channels):
                    taken, again = channel.look(now)
                    got += [(channel, taken)] if taken else []
                    pauses.append(again)
                if not got:
                    if sum(channel.take_wake() for channel in channels):
                        raise TimeoutError("woken")
                    if deadline is not None:
                        if now >= deadline:
                            raise TimeoutError("nothing came in time")
                        pauses.append(deadline - now)
                    changed.wait(max(0.0, min(pauses)))
                    continue
            self._hand_over(got)
            return

    @staticmethod
    def _hand_over(got: Sequence[tuple[MemoryChannel, Any]]) -> None:
        for index, (channel, taken) in enumerate(got):
            try:
                channel.hand_over(taken)
            except BaseException:
                for other, rest in got[index + 1 :]:
                    other.broker.put_back(held for _, held in rest)
                raise
