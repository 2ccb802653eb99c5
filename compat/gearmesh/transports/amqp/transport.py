"""The kombu transport of RabbitMQ: connects, and waits without polling."""

from __future__ import annotations

import time
from typing import Any

from kombu.transport import base, pyamqp

from gearmesh.config import AMQPConfig
from gearmesh.transports.amqp.channel import Channel
from gearmesh.transports.amqp.connection import AMQPConnection
from gearmesh.urls.addresses import shown_address

__all__ = ["Transport"]


class TransportConnection(AMQPConnection):
    """A :class:`AMQPConnection` whose channels have gearmesh's verbs."""

    Channel = Channel


class Transport(pyamqp.Transport):  # type: ignore[misc]
    """Connects kombu to RabbitMQ, by ``amqp://`` and ``amqps://`` as Machinery uses them. See
    :class:`.channel.Channel` for the options."""

    Connection = TransportConnection
    implements = base.Transport.implements.extend(asynchronous=False, heartbeats=False)

    def establish_connection(self) -> AMQPConnection:
        client = self.client
        options = client.transport_options or {}
        config = options.get("amqp") or AMQPConfig()
        host = client.hostname or "localhost"
        link: AMQPConnection = self.Connection(
            host=shown_address(host, client.port or (5671 if client.ssl else 5672)),
            userid=client.userid or "guest",
            password=client.password or "guest",
            login_method=client.login_method or "PLAIN",
            virtual_host=client.virtual_host or "/",
            ssl=config.tls_options(host.strip("[]")) if client.ssl is True else client.ssl,
            connect_timeout=client.connect_timeout or 5.0,
            heartbeat=config.heartbeat,
            client_properties={"connection_name": options.get("consumer") or "gearmesh"},
            options=options,
            patience=float(options.get("patience") or 30.0),
        )
        link.client = client
        link.connect()
        if config.heartbeat:
            link.heartbeat_thread.start()
        return link

    def verify_connection(self, connection: AMQPConnection) -> bool:
        """True also for a broken connection: kombu would silently replace it by one without channels.

        The next use of the connection raises the error.
        """
        return not connection.released

    def close_connection(self, connection: AMQPConnection) -> None:
        connection.client = None
        connection.close()

    def drain_events(self, connection: AMQPConnection, timeout: float | None = None, **kwargs: Any) -> None:
        """Wait for messages and deliver them.

        Raises:
            TimeoutError: nothing came within ``timeout`` seconds (None: no limit), or ``wake()`` was called.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            connection.pump()
            now = time.monotonic()
            channels = list(connection.consuming)
            if sum(channel.deliver(now) for channel in channels):
                return
            woken = [channel for channel in channels if channel.woken]
            for channel in woken:
                channel.woken = False
            if woken or (deadline is not None and now >= deadline):
                raise TimeoutError
            due = min((channel.due() for channel in channels), default=float("inf"))
            if deadline is not None:
                due = min(due, deadline)
            connection.rest(None if due == float("inf") else max(0.0, due - time.monotonic()))

    def heartbeat_check(self, connection: AMQPConnection, rate: int = 2) -> None:
        """Do nothing: the connection sends heartbeats by itself."""
