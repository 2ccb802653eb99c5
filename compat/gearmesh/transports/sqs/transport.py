"""The kombu transport of Amazon SQS: connects, and waits without polling."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

from kombu.transport import base, virtual

from gearmesh.config import SQSConfig
from gearmesh.transports.sqs.channel import Channel as SQSChannel
from gearmesh.transports.sqs.client import SQSClient, client_of
from gearmesh.transports.sqs.deleter import Deleter
from gearmesh.transports.sqs.errors import SQSRefused, SQSUnavailable
from gearmesh.urls import SQSTarget

__all__ = ["Transport"]


class Transport(virtual.Transport):  # type: ignore[misc]
    """Connects kombu to Amazon SQS. The option ``target`` is the :class:`~gearmesh.urls.SQSTarget` of the queues; the
    others are described at :class:`.channel.Channel`."""

    Channel = SQSChannel
    can_parse_url = True
    driver_type = "sqs"
    driver_name = "boto3"
    implements = base.Transport.implements.extend(
        asynchronous=False, exchange_type=frozenset({"direct", "topic", "fanout"}), heartbeats=False
    )
    connection_errors = (SQSUnavailable,)
    channel_errors = (SQSRefused,)
    channels: list[SQSChannel]

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        options = client.transport_options
        self.target: SQSTarget = options["target"]
        self.settings: SQSConfig = options.get("sqs") or SQSConfig()
        #: Guards the received messages of this connection's channels, and is notified when more have come.
        self.changed = threading.Condition()
        self.requests = client_of(self.target, self.settings)
        self.deleter: Deleter = self.requests.shared(Deleter)
        self.state = self.requests.shared(_new_exchanges)

    def driver_version(self) -> str:
        import boto3

        return str(boto3.__version__)

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        return self.target.queue_url("")

    def establish_connection(self) -> Any:
        """Ask SQS for the default queue once, so that this raises if SQS cannot be reached."""
        name = self.client.transport_options.get("default_queue")
        if name:
            with suppress(SQSRefused):  # a program may use other queues; using this one raises later
                self.requests.queues.get(name)
        return super().establish_connection()

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Deliver messages to this connection's consumers; wait if none can be delivered now.

        Args:
            timeout: seconds to wait; None waits without a limit, zero does not wait.

        Raises:
            TimeoutError: no message came, or a channel was woken.
            SQSUnavailable: no messages can be received.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self.changed:
                channels = list(self.channels)
                taken = [(channel, channel.take()) for channel in channels]
                if not any(many for _, many in taken):
                    if sum(channel.take_wake() for channel in channels):
                        raise TimeoutError("woken")
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        raise TimeoutError("nothing came in time")
                    self._rest(channels, left)
                    continue
            self._deliver(taken)
            return

    def _rest(self, channels: list[SQSChannel], seconds: float | None) -> None:
        for channel in channels:
            channel.unacked.resting = True
        self.changed.notify_all()  # receivers ask for messages while the consumer waits
        try:
            self.changed.wait(seconds)
        finally:
            for channel in channels:
                channel.unacked.resting = False

    def _deliver(self, taken: list[tuple[SQSChannel, Any]]) -> None:
        for index, (channel, many) in enumerate(taken):
            try:
                channel.deliver(many)
            except BaseException:
                for other, rest in taken[index + 1 :]:
                    other.receiver.untake(rest)
                raise


def _new_exchanges(client: SQSClient) -> virtual.BrokerState:
    """Make a record of the exchanges and bindings that kombu programs in this process declare: SQS has none."""
    return virtual.BrokerState()
