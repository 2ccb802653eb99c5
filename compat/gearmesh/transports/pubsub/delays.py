"""The forwarder of the delay topic, from which delayed messages go to their own topics when they are due."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from gearmesh.errors import ConfigError
from gearmesh.transports.pubsub.api import PubSubAPI, types_of
from gearmesh.transports.pubsub.message import NOT_BEFORE, QUEUE, number
from gearmesh.transports.pubsub.puller import Puller
from gearmesh.transports.pubsub.receiver import Receiver, lease_seconds
from gearmesh.units import counted

__all__ = ["DelayForwarder"]

log = logging.getLogger("gearmesh.pubsub")

#: Number of messages that one request asks for.
MAX_LOOKED_AT: Final = 500
#: Seconds before the forwarder tries a message again whose topic does not exist.
RETRY_PAUSE_S: Final = 60


class DelayForwarder:
    """Leases the messages of the delay topic until they are due, and publishes them then.

    A Go worker runs a message as soon as it gets it. So where Go workers read the same subscriptions, a message that is
    not due has to wait in a topic that they do not read.

    Args:
        api: Pub/Sub.
        subscription: the full name of the delay topic's subscription.
        publish: publishes messages by topic, and awaits their ids.
        receiver: leases messages, and publishes those again that Pub/Sub would not keep.
        arrived: called in a thread of gRPC's when messages have come.
    """

    def __init__(
        self,
        api: PubSubAPI,
        subscription: str,
        publish: Callable[[dict[str, list[Any]]], None],
        receiver: Receiver,
        arrived: Callable[[], None],
    ) -> None:
        self._api = api
        self._subscription = subscription
        self._publish = publish
        self._receiver = receiver
        self._puller = Puller(
            api, subscription, arrived, lambda pulled: receiver.put_back(subscription, pulled)
        )

    def step(self) -> None:
        """Forward due messages, lease the others, and ask for more.

        Raises:
            PubSubUnavailable: messages that were not forwarded come again.
        """
        pulled = self._puller.take()
        now_ns = time.time_ns()
        early: dict[int, list[str]] = defaultdict(list)
        due: dict[str, list[Any]] = defaultdict(list)
        for received in pulled:
            left_ns = number(received.message.attributes.get(NOT_BEFORE)) - now_ns
            if left_ns <= 0:
                due[str(received.message.attributes.get(QUEUE) or "")].append(received)
            elif not self._receiver.renewed(self._subscription, received):
                early[lease_seconds(left_ns / 1e9)].append(received.ack_id)
        for queue, some in due.items():
            try:
                self._forward(queue, some)
            except ConfigError as exc:  # no such topic: the other messages must not wait for it
                log.error(
                    "%s cannot be forwarded; the next attempt is in %d s: %s",
                    counted(len(some), "delayed message"),
                    RETRY_PAUSE_S,
                    exc,
                )
                early[RETRY_PAUSE_S] += [received.ack_id for received in some]
        self._receiver.lease(self._subscription, early)
        self._puller.ask(MAX_LOOKED_AT)

    def _forward(self, queue: str, some: list[Any]) -> None:
        """Publish due messages to their topic, and only then delete them here."""
        topic = self._api.addresses.topic(queue)
        self._publish({topic: [_plain(received.message) for received in some]})
        for call, _ in self._api.acknowledge(self._subscription, [received.ack_id for received in some]):
            call.result()

    def stop(self) -> None:
        """Stop asking for messages."""
        self._puller.cancel()


def _plain(message: Any) -> Any:
    """Make the message as it would have been sent without a delay."""
    kept = {name: value for name, value in message.attributes.items() if name not in (NOT_BEFORE, QUEUE)}
    return types_of("PubsubMessage")(data=message.data, attributes=kept, ordering_key=message.ordering_key)
