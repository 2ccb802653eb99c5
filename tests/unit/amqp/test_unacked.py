"""Unacked deliveries of a consumer: known by their ids, lost with a channel, and reclaimed when they come again."""

from __future__ import annotations

import gc
import zlib
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from gearmesh.interfaces.commit import Delivery
from gearmesh.transports.amqp.delivery_tags import AckTracker
from gearmesh.transports.amqp.unacked import UNACKED_BY_CONSUMER, AMQPUnackedDeliveries, Unacked, digest_of


def channel() -> AckTracker:
    """One incarnation of a channel."""
    return AckTracker(cast(Any, None), 1)


def hold(ledger: AMQPUnackedDeliveries, body: bytes, tags: AckTracker, tag: int = 1) -> Unacked:
    delivery = Delivery(queue="jobs", consumer=ledger.consumer, id=ledger.new_id(body))
    held = Unacked(delivery, body, {}, tags, tag, "t.1")
    ledger.add(held)
    return held


@given(st.lists(st.binary(max_size=20), max_size=30))
def test_ids_differ_and_carry_the_checksum_of_the_message(bodies: list[bytes]) -> None:
    ledger = AMQPUnackedDeliveries("me")
    ids = [ledger.new_id(body) for body in [*bodies, *bodies]]
    assert len(set(ids)) == len(ids), "equal messages have ids of their own"
    assert [digest_of(id) for id in ids] == [zlib.crc32(body) for body in [*bodies, *bodies]]
    assert all(0 < id < 1 << 63 for id in ids), "a worker's board has 63 bits for one"


def test_what_is_held_is_known_until_it_is_forgotten() -> None:
    ledger = AMQPUnackedDeliveries("me")
    held = hold(ledger, b"a", channel())
    id = held.delivery.id
    assert (ledger.held, ledger.open) == ({id: held}, {id: held.delivery})
    assert not ledger.orphaned(id)
    for _ in range(2):
        ledger.forget(id)
        assert (ledger.held, ledger.open) == ({}, {})
        assert ledger.orphaned(id), "of what is not held RabbitMQ decides"


def test_a_delivery_whose_channel_was_closed_is_held_without_one() -> None:
    ledger = AMQPUnackedDeliveries("me")
    held = hold(ledger, b"a", channel())
    for _ in range(2):
        ledger.mark_orphaned(held)
        assert held.tags is None
        assert ledger.orphaned(held.delivery.id)
        assert ledger.open == {held.delivery.id: held.delivery}, "its task may still run"
        assert ledger.losses == 1


def test_a_delivery_that_was_settled_meanwhile_is_not_lost_with_its_channel() -> None:
    ledger, tags = AMQPUnackedDeliveries("me"), channel()
    held = hold(ledger, b"a", tags)
    ledger.forget(held.delivery.id)
    ledger.mark_orphaned(held)
    assert ledger.losses == 0
    assert ledger.reclaim(b"a", tags, 2, "t.2") is None


def test_a_redelivery_of_the_same_bytes_takes_the_place_of_the_lost_delivery() -> None:
    ledger, again = AMQPUnackedDeliveries("me"), channel()
    held = hold(ledger, b"a", channel(), tag=1)
    ledger.mark_orphaned(held)
    assert ledger.reclaim(b"other", again, 5, "t.2") is None
    assert ledger.reclaim(b"a", again, 6, "t.3") is held
    assert (held.tags, held.tag, held.source) == (again, 6, "t.3")
    assert not ledger.orphaned(held.delivery.id)
    assert ledger.reclaim(b"a", again, 7, "t.3") is None, "the next one is another message"


def test_a_redelivery_is_no_match_for_what_still_has_its_channel() -> None:
    ledger = AMQPUnackedDeliveries("me")
    hold(ledger, b"a", channel())
    assert ledger.reclaim(b"a", channel(), 2, "t.2") is None


def test_equal_messages_are_reclaimed_each_once_and_the_first_lost_first() -> None:
    ledger = AMQPUnackedDeliveries("me")
    both = [hold(ledger, b"a", channel()) for _ in range(2)]
    for held in both:
        ledger.mark_orphaned(held)
    assert [ledger.reclaim(b"a", channel(), tag, "t.2") for tag in (5, 6, 7)] == [*both, None]


def test_a_forgotten_delivery_is_not_reclaimed() -> None:
    ledger = AMQPUnackedDeliveries("me")
    first, second = (hold(ledger, b"a", channel()) for _ in range(2))
    for held in (first, second):
        ledger.mark_orphaned(held)
    ledger.forget(first.delivery.id)
    assert ledger.reclaim(b"a", channel(), 5, "t.2") is second
    ledger.forget(second.delivery.id)
    assert ledger.reclaim(b"a", channel(), 6, "t.2") is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["hold", "lose", "come again", "settle"]), st.integers(0, 5)), max_size=40
    )
)
def test_a_redelivery_belongs_to_exactly_one_delivery_that_was_lost(steps: list[tuple[str, int]]) -> None:
    """Whatever happens before: each delivery is held, lost, or settled, and only a lost one is reclaimed."""
    ledger = AMQPUnackedDeliveries("me")
    with_channel: list[Unacked] = []
    lost: list[Unacked] = []
    losses = 0
    for step, number in steps:
        body = b"%d" % (number % 2)
        if step == "hold":
            with_channel.append(hold(ledger, body, channel()))
        elif step == "lose" and with_channel:
            held = with_channel.pop(number % len(with_channel))
            ledger.mark_orphaned(held)
            lost.append(held)
            losses += 1
        elif step == "come again":
            expected = next((held for held in lost if held.body == body), None)
            assert ledger.reclaim(body, channel(), 1, "t.2") is expected
            if expected is not None:
                lost.remove(expected)
                with_channel.append(expected)
        elif step == "settle" and (all_of_them := with_channel + lost):
            held = all_of_them[number % len(all_of_them)]
            ledger.forget(held.delivery.id)
            (lost if held in lost else with_channel).remove(held)
        assert set(ledger.held.values()) == {*with_channel, *lost}
        assert ledger.open.keys() == ledger.held.keys()
        assert {id for id in ledger.held if ledger.orphaned(id)} == {held.delivery.id for held in lost}
        assert ledger.losses == losses


def test_all_channels_of_a_process_find_a_consumer_by_its_name_as_long_as_one_uses_it() -> None:
    name = "a consumer of this test alone"
    ledger = UNACKED_BY_CONSUMER.get(name)
    assert UNACKED_BY_CONSUMER.get(name) is ledger
    assert ledger.consumer == name
    hold(ledger, b"a", channel())
    del ledger
    gc.collect()
    assert UNACKED_BY_CONSUMER.get(name).held == {}
