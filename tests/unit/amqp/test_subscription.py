"""One queue that a channel reads: which prefetches RabbitMQ is given, and how much it may push by these."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh.transports.amqp.subscription import ADJUST_INTERVAL_S, FetchedMessage, Subscription


class Consumers:
    """Stands in for the channel: it knows the consumers that RabbitMQ has, and pushes by their prefetch counts."""

    def __init__(self) -> None:
        #: consumer tag -> prefetch of those that were begun and not cancelled
        self.live: dict[str, int] = {}
        self.begun: list[tuple[str, int, Mapping[str, Any]]] = []
        self.cancelled: list[str] = []

    def add_source(
        self, subscription: Subscription, tag: str, prefetch: int, arguments: Mapping[str, Any]
    ) -> None:
        assert tag not in [known for known, _, _ in self.begun], "RabbitMQ refuses a consumer tag in use"
        self.live[tag] = prefetch
        self.begun.append((tag, prefetch, arguments))

    def cancel_source(self, tag: str) -> None:
        del self.live[tag]
        self.cancelled.append(tag)

    def push(self, subscription: Subscription, count: int = 1 << 30) -> int:
        """Deliver up to ``count`` messages; return how many the prefetch counts allowed."""
        pushed = 0
        for tag, prefetch in self.live.items():
            while pushed < count and subscription.unsettled.get(tag, 0) < prefetch:
                subscription.unsettled[tag] = subscription.unsettled.get(tag, 0) + 1
                pushed += 1
        return pushed


@pytest.fixture
def consumers() -> Consumers:
    return Consumers()


def subscribe(
    consumers: Consumers, *, no_ack: bool = False, arguments: Mapping[str, Any] | None = None
) -> Subscription:
    return Subscription(
        cast(Any, consumers),
        "jobs",
        "t",
        lambda message: None,
        no_ack=no_ack,
        arguments=arguments or {},
        ours=True,
    )


class Clock:
    """A monotonic clock that only the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_the_first_prefetch_is_one_consumer_with_the_arguments_of_the_user(consumers: Consumers) -> None:
    subscription = subscribe(consumers, arguments={"x-priority": 5})
    subscription.adjust(10)
    assert consumers.begun == [("t.1", 10, {"x-priority": 5})]
    assert subscription.content(10)


def test_adjusting_to_the_same_number_changes_nothing(consumers: Consumers) -> None:
    subscription = subscribe(consumers)
    for _ in range(3):
        subscription.adjust(10)
    assert (len(consumers.begun), consumers.cancelled) == (1, [])


def test_more_is_wanted_and_another_consumer_brings_the_rest(consumers: Consumers) -> None:
    subscription = subscribe(consumers)
    subscription.adjust(10)
    assert not subscription.content(15)
    subscription.adjust(15)
    assert consumers.live == {"t.1": 10, "t.2": 5}
    assert subscription.content(15)


def test_less_is_wanted_and_the_newest_consumers_are_cancelled_first(consumers: Consumers) -> None:
    subscription = subscribe(consumers)
    for wanted in (10, 15, 17):
        subscription.adjust(wanted)
    subscription.adjust(12)
    assert consumers.cancelled == ["t.3", "t.2"]
    assert consumers.live == {"t.1": 10, "t.4": 2}, "a new consumer takes the missing part"


def test_a_single_message_less_is_less(consumers: Consumers) -> None:
    subscription = subscribe(consumers)
    subscription.adjust(10)
    subscription.adjust(11)
    subscription.adjust(10)
    assert consumers.live == {"t.1": 10}


def test_unacked_deliveries_of_a_cancelled_consumer_count_against_a_new_one(consumers: Consumers) -> None:
    subscription = subscribe(consumers)
    subscription.adjust(10)
    assert consumers.push(subscription) == 10
    subscription.adjust(4)
    assert consumers.live == {}, "10 are unacked, so nothing more may come"
    assert subscription.room(4) == -6
    for _ in range(7):
        subscription.settled("t.1")
    subscription.adjust(4)
    assert consumers.live == {"t.2": 1}
    assert sum(subscription.unsettled.values()) == 3


def test_small_changes_wait_for_a_moment(consumers: Consumers, clock: Clock) -> None:
    """Otherwise each acknowledgement would start a consumer for one message."""
    subscription = subscribe(consumers)
    subscription.adjust(100)
    consumers.push(subscription)
    subscription.adjust(10)
    for _ in range(95):
        subscription.settled("t.1")
    subscription.adjust(10)
    assert consumers.live == {"t.2": 5}
    subscription.settled("t.1")
    subscription.adjust(10)
    assert consumers.live == {"t.2": 5}, "for one message of ten no consumer is started yet"
    assert subscription.room(10) == 1
    clock.now += ADJUST_INTERVAL_S
    subscription.adjust(10)
    assert consumers.live == {"t.2": 5, "t.3": 1}


def test_large_changes_do_not_wait(consumers: Consumers, clock: Clock) -> None:
    subscription = subscribe(consumers)
    subscription.adjust(100)
    consumers.push(subscription)
    subscription.adjust(10)
    for settled, expected in ((95, 5), (3, 8)):
        for _ in range(settled):
            subscription.settled("t.1")
        subscription.adjust(10)
        assert sum(consumers.live.values()) == expected


def test_many_small_consumers_are_replaced_by_one(consumers: Consumers) -> None:
    subscription = subscribe(consumers)
    for wanted in range(1, 9):
        subscription.adjust(wanted)
    assert len(consumers.live) == 8
    subscription.adjust(9)
    assert list(consumers.live.values()) == [9]


@pytest.mark.parametrize("no_ack", [False, True], ids=["acknowledged", "not acknowledged"])
def test_no_limit_is_one_consumer_with_a_prefetch_of_0(consumers: Consumers, no_ack: bool) -> None:
    subscription = subscribe(consumers, no_ack=no_ack)
    subscription.adjust(5)
    for _ in range(2):
        subscription.adjust(0)
    assert list(consumers.live.values()) == [0]
    assert subscription.content(0)
    assert subscription.room(0) == 0


def test_a_limit_that_comes_later_replaces_the_unlimited_consumer(consumers: Consumers) -> None:
    subscription = subscribe(consumers)
    subscription.adjust(0)
    subscription.adjust(5)
    assert list(consumers.live.values()) == [5]


def test_a_subscription_without_acks_has_no_limit(consumers: Consumers) -> None:
    subscription = subscribe(consumers, no_ack=True)
    subscription.adjust(5)
    assert list(consumers.live.values()) == [0]
    assert subscription.content(5)
    assert subscription.room(5) == 0


def test_a_consumer_that_rabbitmq_cancelled_is_begun_again(consumers: Consumers) -> None:
    subscription = subscribe(consumers)
    subscription.adjust(5)
    consumers.push(subscription, 2)
    consumers.live.clear()
    subscription.dropped("t.1")
    subscription.dropped("t.1")
    assert not subscription.content(5)
    subscription.adjust(5)
    assert consumers.live == {"t.2": 3}, "two of its deliveries are unacked"
    assert consumers.cancelled == []


def test_a_cancelled_subscription_counts_its_unacked_deliveries(consumers: Consumers) -> None:
    subscription = subscribe(consumers)
    subscription.adjust(5)
    consumers.push(subscription, 2)
    subscription.cancel()
    assert consumers.live == {}
    assert not subscription.content(5)
    assert sum(subscription.unsettled.values()) == 2
    for _ in range(3):  # one too many: a delivery of the channel's last incarnation
        subscription.settled("t.1")
    assert sum(subscription.unsettled.values()) == 0
    assert subscription.unsettled == {}, "nothing is remembered of a consumer that is through"


def test_a_closed_channel_leaves_nothing(consumers: Consumers) -> None:
    subscription = subscribe(consumers)
    subscription.adjust(5)
    consumers.push(subscription)
    subscription.waiting.append(FetchedMessage(cast(Any, None), {}, b"", None))
    consumers.live.clear()
    subscription.lost()
    assert consumers.cancelled == [], "there is no channel to say it on"
    assert (sum(subscription.unsettled.values()), list(subscription.waiting)) == (0, [])
    subscription.adjust(5)
    assert consumers.live == {"t.2": 5}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("adjust"), st.integers(1, 30)),
        st.tuples(st.just("push"), st.integers(1, 30)),
        st.tuples(st.just("settle"), st.integers(1, 30)),
        st.tuples(st.just("cancel"), st.just(0)),
    ),
    max_size=40,
)


@given(steps)
def test_rabbitmq_is_never_allowed_more_than_was_wanted_when_a_consumer_was_begun(
    steps: list[tuple[str, int]],
) -> None:
    """Prefetch counts and the unacked deliveries of cancelled consumers never exceed the limit together."""
    consumers = Consumers()
    subscription = subscribe(consumers)
    delivered = settled = 0
    for step, number in steps:
        begun = len(consumers.begun)
        if step == "adjust":
            subscription.adjust(number)
            allowed = sum(consumers.live.values())
            assert allowed <= number
            strays = sum(n for tag, n in subscription.unsettled.items() if tag not in consumers.live)
            if len(consumers.begun) > begun:
                assert allowed + strays <= number
            assert len(consumers.live) <= 8
            assert consumers.live or 4 * (number - strays) < number, "it pauses only for a small share"
        elif step == "push":
            delivered += consumers.push(subscription, number)
        elif step == "settle":
            for tag in [tag for tag, n in subscription.unsettled.items() for _ in range(n)][:number]:
                subscription.settled(tag)
                settled += 1
        else:
            subscription.cancel()
            assert not consumers.live
        assert sum(subscription.unsettled.values()) == delivered - settled
        assert dict(subscription.sources) == consumers.live
