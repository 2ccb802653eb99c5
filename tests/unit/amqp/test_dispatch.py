"""The dispatcher between subscriptions and callbacks, without a server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
from amqp.exceptions import NotFound

from gearmesh.transports.amqp.dispatch import LOST_QUEUE_RETRY_DELAY_S, Dispatcher
from gearmesh.transports.amqp.subscription import Subscription
from gearmesh.transports.amqp.unacked import AMQPUnackedDeliveries
from gearmesh.transports.queue_order import picker_of

MINUTE = 60.0


class Channel:
    """Stands in for the channel: RabbitMQ has closed it if a consumer is begun on a queue that is gone."""

    usable = True

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.consumers: dict[str, int] = {}
        self.dispatcher: Dispatcher

    def declare_source(self, subscription: Subscription) -> None: ...

    def put_back(self, helds: Any) -> int:
        return len(helds)

    def add_source(
        self, subscription: Subscription, tag: str, prefetch: int, arguments: Mapping[str, Any]
    ) -> None:
        if subscription.queue in self.gone:
            for each in self.dispatcher.subscriptions.values():
                each.lost()
            self.consumers.clear()
            raise NotFound(f"no queue {subscription.queue!r}")
        self.consumers[tag] = prefetch

    def cancel_source(self, tag: str) -> None:
        del self.consumers[tag]


class NoRecords:
    """No message is in doubt."""

    def settle(self, now: float) -> None: ...

    def due(self) -> float:
        return float("inf")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def go_on() -> float:
        now[0] += MINUTE
        return now[0]

    return go_on


def test_a_queue_that_is_deleted_as_a_consumer_is_added_does_not_end_the_others(
    clock: Callable[[], float],
) -> None:
    channel = Channel()
    dispatcher = channel.dispatcher = Dispatcher(
        channel,
        cast(Any, threading.RLock()),
        AMQPUnackedDeliveries("me"),
        cast(Any, NoRecords()),
        picker_of("fair"),
    )
    for queue in ("here", "gone"):
        dispatcher.subscriptions[queue] = Subscription(
            channel, queue, queue, lambda message: None, no_ack=False, arguments={}, ours=True
        )
    dispatcher.prefetch = 4
    dispatcher.deliver(clock())
    assert sorted(channel.consumers.values()) == [4, 4]
    channel.gone = {"gone"}
    dispatcher.prefetch = 8  # so each queue gets another consumer
    now = clock()
    assert dispatcher.deliver(now) is False
    assert channel.consumers == {}, "RabbitMQ has closed the channel"
    assert dispatcher.due() == now + LOST_QUEUE_RETRY_DELAY_S
    channel.gone = set()
    dispatcher.deliver(clock())
    assert sorted(channel.consumers.values()) == [8, 8]
