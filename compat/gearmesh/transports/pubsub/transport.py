"""The kombu transport: shares one gRPC channel a process, and waits without polling."""

from __future__ import annotations

import threading
import time
from importlib.metadata import version
from typing import Any

from kombu.transport import base, virtual

from gearmesh.config import PubSubConfig
from gearmesh.shared import SharedByName
from gearmesh.transports.pubsub.addresses import Addresses
from gearmesh.transports.pubsub.api import PubSubAPI, PubSubUnavailable
from gearmesh.transports.pubsub.channel import Channel as PubSubChannel
from gearmesh.transports.pubsub.notes import NOTES

__all__ = ["Transport"]


class _Exchanges(virtual.BrokerState):  # type: ignore[misc]
    """Holds kombu's exchanges and bindings for one project in this process, since Pub/Sub has none."""

    def __init__(self, name: str = "") -> None:
        super().__init__()


_EXCHANGES = SharedByName(_Exchanges)


class Transport(virtual.Transport):  # type: ignore[misc]
    """Connects kombu to Google Pub/Sub: ``gcppubsub://PROJECT/SUBSCRIPTION`` as Machinery uses it. See
    :class:`.channel.Channel` for the options."""

    Channel = PubSubChannel
    can_parse_url = True
    driver_type = "gcppubsub"
    driver_name = "google-cloud-pubsub"
    connection_errors = (PubSubUnavailable,)
    channel_errors = ()
    implements = base.Transport.implements.extend(
        asynchronous=False, exchange_type=frozenset({"direct", "topic", "fanout"}), heartbeats=False
    )
    channels: list[PubSubChannel]

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        options = client.transport_options
        config: PubSubConfig = options.get("gcppubsub") or PubSubConfig()
        project, _, subscription = (client.hostname or "").rpartition("://")[2].partition("/")
        self._subscription, self._default_queue = subscription, options.get("default_queue") or ""
        addresses = Addresses(project, subscription, self._default_queue)
        #: The project and the subscription, for people.
        self.shown = f"gcppubsub://{project}/{subscription}"
        self.api = PubSubAPI(
            addresses,
            config.client,
            timeout=float(options.get("patience") or 30.0),
            create=config.create,
        )
        self.notes = NOTES.get(project)
        self.state = _EXCHANGES.get(project)
        #: Set when a request has ended, or a channel is woken.
        self.news = threading.Event()

    def establish_connection(self) -> Any:
        """Look for the subscription of the URL, and open the first channel.

        Raises:
            ConfigError: the subscription does not exist; the message has the command that creates it.
            PubSubUnavailable: Pub/Sub cannot be reached.
        """
        addresses = self.api.addresses
        name = addresses.named_subscription(self._subscription)
        self.api.ensure(addresses.topic(self._default_queue or self._subscription), name)
        self.api.settings(name)
        return super().establish_connection()

    def driver_version(self) -> str:
        return version("google-cloud-pubsub")

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        return self.shown

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Wait for messages and deliver them.

        Raises:
            TimeoutError: nothing came within ``timeout`` seconds (None: no limit), or ``wake()`` was called.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self.news.clear()
            channels = list(self.channels)
            if sum(channel.deliver() for channel in channels):
                return
            woken = [channel for channel in channels if channel.woken]
            for channel in woken:
                channel.woken = False
            now = time.monotonic()
            if woken or (deadline is not None and now >= deadline):
                raise TimeoutError
            due = min((channel.due() for channel in channels), default=float("inf"))
            if deadline is not None:
                due = min(due, deadline)
            self._rest(channels, None if due == float("inf") else max(0.0, due - now))

    def _rest(self, channels: list[PubSubChannel], seconds: float | None) -> None:
        """Wait for news; a consumer that waits is alive."""
        for channel in channels:
            channel.unacked.resting = True
        try:
            self.news.wait(seconds)
        finally:
            for channel in channels:
                channel.unacked.resting = False
                channel.unacked.alive_at = time.monotonic()
