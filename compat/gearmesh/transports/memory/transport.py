"""The memory transport: joins kombu's connection to a broker of this process."""

from __future__ import annotations

from typing import Any

from kombu.transport import base, virtual

from gearmesh.transports.memory.broker import BROKERS, Broker
from gearmesh.transports.memory.channel import Channel as MemoryChannel
from gearmesh.transports.memory.channel import drain

__all__ = ["Transport"]


class Transport(virtual.Transport):  # type: ignore[misc]
    """Connects kombu to a broker in the memory of this process. The transport option ``broker`` is a :class:`Broker` to
    use in place of the URL's."""

    Channel = MemoryChannel
    can_parse_url = True
    driver_type = "memory"
    driver_name = "memory"
    implements = base.Transport.implements.extend(
        asynchronous=False, exchange_type=frozenset({"direct", "topic", "fanout"}), heartbeats=False
    )
    #: With Python's ConnectionError, which a test's broker raises as transports over a network do.
    connection_errors = (*virtual.Transport.connection_errors, ConnectionError)
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
        """Deliver messages to this connection's consumers; wait if none can be delivered now.

        Args:
            timeout: seconds to wait; None waits without a limit, zero does not wait.

        Raises:
            TimeoutError: no message came, or a channel was woken.
        """
        drain(self.broker, self.channels, timeout)
