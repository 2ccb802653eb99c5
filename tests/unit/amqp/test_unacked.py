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
    """Return a stand-in for a channel that was opened once."""
    return AckTracker(cast(Any, None), cast(Any, None), 1)


def hold(unacked: AMQPUnackedDeliveries, body: bytes, tags: AckTracker, tag: int = 1) -> Unacked:
    delivery = Delivery(queue="jobs", consumer=unacked.consumer, id=unacked.new_id(body))
    held = Unacked(delivery, body, {}, tags, tag=tag, source="t.1")
    unacked.add(held)
    return held


@given(st.lists(st.binary(max_size=20), max_size=30))
def test_ids_differ_and_carry_the_checksum_of_the_message(bodies: list[bytes]) -> None:
    unacked = AMQPUnackedDeliveries("me")
    ids = [unacked.new_id(body) for body in [*bodies, *bodies]]
    assert len(set(ids)) == len(ids), "equal messages have ids of their own"
    assert [digest_of(id) for id in ids] == [zlib.crc32(body) for body in [*bodies, *bodies]]
    assert all(0 < id < 1 << 63 for id in ids), "a worker's board has 63 bits for one"


def test_a_held_delivery_is_known_until_it_is_forgotten() -> None:
    unacked = AMQPUnackedDeliveries("me")
    held = hold(unacked, b"a", channel())
    id = held.delivery.id
    assert (unacked.held, unacked.open) == ({id: held}, {id: held.delivery})
    assert not unacked.orphaned(id)
    for _ in range(2):
        unacked.forget(id)
        assert (unacked.held, unacked.open) == ({}, {})
        assert unacked.orphaned(id), "RabbitMQ decides about deliveries that are not held"


def test_a_delivery_whose_channel_was_closed_is_held_without_one() -> None:
    unacked = AMQPUnackedDeliveries("me")
    held = hold(unacked, b"a", channel())
    for _ in range(2):
        unacked.mark_orphaned(held)
        assert held.tags is None
        assert unacked.orphaned(held.delivery.id)
        assert unacked.open == {held.delivery.id: held.delivery}, "its task may still run"
        assert unacked.losses == 1


def test_a_delivery_that_was_settled_meanwhile_is_not_lost_with_its_channel() -> None:
    unacked, tags = AMQPUnackedDeliveries("me"), channel()
    held = hold(unacked, b"a", tags)
    unacked.forget(held.delivery.id)
    unacked.mark_orphaned(held)
    assert unacked.losses == 0
    assert unacked.reclaim(b"a", tags, 2, "t.2") is None


def test_a_redelivery_of_the_same_bytes_takes_the_place_of_the_lost_delivery() -> None:
    unacked, again = AMQPUnackedDeliveries("me"), channel()
    held = hold(unacked, b"a", channel(), tag=1)
    unacked.mark_orphaned(held)
    assert unacked.reclaim(b"other", again, 5, "t.2") is None
    assert unacked.reclaim(b"a", again, 6, "t.3") is held
    assert (held.tags, held.tag, held.source) == (again, 6, "t.3")
    assert not unacked.orphaned(held.delivery.id)
    assert unacked.reclaim(b"a", again, 7, "t.3") is None, "the next one is another message"


def test_a_delivery_whose_channel_is_open_is_not_reclaimed() -> None:
    unacked = AMQPUnackedDeliveries("me")
    hold(unacked, b"a", channel())
    assert unacked.reclaim(b"a", channel(), 2, "t.2") is None


def test_equal_messages_are_reclaimed_each_once_and_the_first_lost_first() -> None:
    unacked = AMQPUnackedDeliveries("me")
    both = [hold(unacked, b"a", channel()) for _ in range(2)]
    for held in both:
        unacked.mark_orphaned(held)
    assert [unacked.reclaim(b"a", channel(), tag, "t.2") for tag in (5, 6, 7)] == [*both, None]


def test_a_forgotten_delivery_is_not_reclaimed() -> None:
    unacked = AMQPUnackedDeliveries("me")
    first, second = (hold(unacked, b"a", channel()) for _ in range(2))
    for held in (first, second):
        unacked.mark_orphaned(held)
    unacked.forget(first.delivery.id)
    assert unacked.reclaim(b"a", channel(), 5, "t.2") is second
    unacked.forget(second.delivery.id)
    assert unacked.reclaim(b"a", channel(), 6, "t.2") is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["hold", "lose", "come again", "settle"]), st.integers(0, 5)), max_size=40
    )
)
def test_a_redelivery_belongs_to_exactly_one_delivery_that_was_lost(steps: list[tuple[str, int]]) -> None:
    """After any steps, each delivery is held, lost, or settled, and only a lost one is reclaimed."""
    unacked = AMQPUnackedDeliveries("me")
    with_channel: list[Unacked] = []
    lost: list[Unacked] = []
    losses = 0
    for step, number in steps:
        body = b"%d" % (number % 2)
        if step == "hold":
            with_channel.append(hold(unacked, body, channel()))
        elif step == "lose" and with_channel:
            held = with_channel.pop(number % len(with_channel))
            unacked.mark_orphaned(held)
            lost.append(held)
            losses += 1
        elif step == "come again":
            expected = next((held for held in lost if held.body == body), None)
            assert unacked.reclaim(body, channel(), 1, "t.2") is expected
            if expected is not None:
                lost.remove(expected)
                with_channel.append(expected)
        elif step == "settle" and (all_of_them := with_channel + lost):
            held = all_of_them[number % len(all_of_them)]
            unacked.forget(held.delivery.id)
            (lost if held in lost else with_channel).remove(held)
        assert set(unacked.held.values()) == {*with_channel, *lost}
        assert unacked.open.keys() == unacked.held.keys()
        assert {id for id in unacked.held if unacked.orphaned(id)} == {held.delivery.id for held in lost}
        assert unacked.losses == losses


def test_all_channels_of_a_process_find_a_consumer_by_its_name_as_long_as_one_uses_it() -> None:
    name = "a consumer of this test alone"
    unacked = UNACKED_BY_CONSUMER.get(name)
    assert UNACKED_BY_CONSUMER.get(name) is unacked
    assert unacked.consumer == name
    hold(unacked, b"a", channel())
    del unacked
    gc.collect()
    assert UNACKED_BY_CONSUMER.get(name).held == {}
