"""One queue of the memory broker: its order, its leases, its parked messages and its dead letters."""

from __future__ import annotations

import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh.interfaces.commit import Delivery, Settle
from gearmesh.interfaces.transport import ParkedMessage
from gearmesh.transports.memory.queue import ChannelUnacked, MemoryQueue, StoredMessage, Unacked
from gearmesh.transports.memory.reaper import Reaper

items = st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12)


def hold(
    line: MemoryQueue,
    id: int,
    consumer: str = "c",
    item: StoredMessage | None = None,
    owner: ChannelUnacked | None = None,
) -> Unacked:
    delivery = Delivery(queue=line.name, consumer=consumer, id=id)
    held = Unacked(item or StoredMessage(b"%d" % id), delivery, owner or ChannelUnacked())
    line.hold(held)
    return held


def waiting(line: MemoryQueue) -> list[bytes]:
    return [item.body for item in line]


def aside(max_age: float = 100, reason: str = "add") -> Settle:
    return Settle(Delivery(queue="q", consumer="c", id=1), "park", reason, max_age)


# -- order


@given(items)
def test_a_higher_priority_goes_first_and_a_head_goes_before_its_own(puts: list[tuple[int, bool]]) -> None:
    line, levels = MemoryQueue("q"), dict[int, list[bytes]]()
    for n, (priority, head) in enumerate(puts):
        line.put(StoredMessage(b"%d" % n, priority=priority), head=head)
        levels.setdefault(priority, []).insert(0 if head else n, b"%d" % n)
    expected = [body for level in sorted(levels, reverse=True) for body in levels[level]]
    assert waiting(line) == expected
    assert [item.body for item in line.peek(3)] == expected[:3]
    assert len(line) == len(expected)
    taken = [item.body for _ in range(len(expected)) if (item := line.take()) is not None]
    assert taken == expected
    assert line.take() is None
    assert line.idle


def test_a_purge_leaves_the_held_messages() -> None:
    line = MemoryQueue("q")
    line.put(StoredMessage(b"waits"))
    line.put_off(StoredMessage(b"parked"), 5.0)
    hold(line, 1)
    assert sorted(line.purge()) == [b"parked", b"waits"]
    assert (line.count().pending, line.count().aside, line.count().held) == (0, 0, 1)


# -- leases


@given(st.permutations(range(6)), st.lists(st.integers(0, 3), max_size=3))
def test_a_dead_consumer_s_messages_return_in_order_before_all_others(ids: list[int], old: list[int]) -> None:
    line = MemoryQueue("q")
    for n in old:
        line.put(StoredMessage(b"old %d" % n))
    before = waiting(line)
    for id in ids:
        hold(line, id, "dead")
    hold(line, 9, "living")
    assert line.recover("dead", lost=True) == 6
    assert waiting(line) == [b"%d" % n for n in range(6)] + before
    assert list(line.held) == ["living"]
    assert line.recover("dead", lost=True) == 0


def test_a_settled_lease_is_found_no_more() -> None:
    line, owner = MemoryQueue("q"), ChannelUnacked()
    held = hold(line, 1, owner=owner)
    assert line.find(held.delivery) is held
    assert owner.held == {1: held}
    line.release(held)
    assert line.find(held.delivery) is None
    assert owner.held == {}
    assert line.idle


def test_a_consumer_that_ends_as_it_should_blames_nothing() -> None:
    line = MemoryQueue("q")
    held = hold(line, 1)
    line.recover("c", lost=False, running=[1])
    assert (held.item.lost, held.item.crash_count) == (0, None)


@pytest.mark.parametrize(
    ("running", "certain", "crash_counts"),
    [
        ([1], True, [1, None]),  # it ran alone: it did it
        ([1], False, [None, None]),  # something else may have killed the process
        ([1, 2], True, [0, 0]),  # one of them did it
        ([], True, [None, None]),
        (None, True, [None, None]),  # nobody saw what ran: not at the first loss
    ],
)
def test_a_death_isolates_the_messages_that_ran(
    running: list[int] | None, certain: bool, crash_counts: list[float | None]
) -> None:
    line = MemoryQueue("q")
    held = [hold(line, id) for id in (1, 2)]
    line.recover("c", lost=True, running=running, certain=certain)
    assert [each.item.crash_count for each in held] == crash_counts
    assert [each.item.lost for each in held] == [1, 1]


def test_a_second_uncertain_death_counts_a_quarter_to_a_message_that_was_alone() -> None:
    line, item = MemoryQueue("q"), StoredMessage(b"x")
    found = []
    for id in range(1, 4):
        hold(line, id, item=item)
        line.recover("c", lost=True, running=[id], certain=False)
        found.append(item.crash_count)
        assert line.take() is item
    assert found == [None, 0.25, 0.5]


# -- the reaper


def test_a_consumer_is_dead_when_its_counter_stood_still_for_a_lease() -> None:
    line, reaper = MemoryQueue("q"), Reaper(10.0)
    hold(line, 1, "other")
    line.beat("other")
    assert reaper.look([line], "me", 100.0) == 10.0, "the silence counts from the first look"
    assert reaper.look([line], "me", 109.0) == 1.0
    line.beat("other")
    assert reaper.look([line], "me", 109.5) == 10.0, "it lives"
    assert reaper.look([line], "me", 119.5) == math.inf
    assert waiting(line) == [b"1"]
    assert "other" not in line.beats


def test_a_reaper_lets_its_own_consumer_and_idle_ones_be() -> None:
    line, reaper = MemoryQueue("q"), Reaper(1.0)
    hold(line, 1, "me")
    line.beat("idle")
    for now in (0.0, 100.0):
        assert reaper.look([line], "me", now) == math.inf
    assert list(line.held) == ["me"]
    assert list(line.beats) == ["idle"]


def test_a_reaper_forgets_a_consumer_that_holds_nothing_meanwhile() -> None:
    line, reaper = MemoryQueue("q"), Reaper(1.0)
    held = hold(line, 1, "other")
    reaper.look([line], "me", 0.0)
    line.release(held)
    reaper.look([line], "me", 0.5)
    hold(line, 2, "other")
    assert reaper.look([line], "me", 2.0) == 1.0, "a new silence begins"


# -- parked


def test_an_unknown_task_goes_to_the_tail_once_and_is_then_parked_ever_longer() -> None:
    line, item, now, pauses = MemoryQueue("q"), StoredMessage(b"x"), 100.0, []
    assert not line.set_aside(item, aside(math.inf), now, 0)
    assert line.take() is item, "another worker may want it at once"
    for _ in range(14):
        assert not line.set_aside(item, aside(math.inf), now, 0)
        due = line.next_return()
        assert due is not None
        pauses.append(round(due - now, 3))
        line.return_aside(due - 0.001)
        assert line.take() is None, "not yet"
        line.return_aside(due)
        assert line.take() is item
        now = due
    assert pauses[:4] == [0.05, 0.1, 0.2, 0.4]
    assert pauses == [min(30.0, round(0.05 * 2**n, 3)) for n in range(14)]
    assert pauses[-1] == 30.0


def test_an_unknown_task_becomes_a_dead_letter_after_its_greatest_age() -> None:
    line, item = MemoryQueue("q"), StoredMessage(b"x")
    assert not line.set_aside(item, aside(10), 100.0, 1000.0)
    assert line.take() is item
    assert not line.set_aside(item, aside(10), 109.9, 1009.9)
    line.return_aside(math.inf)
    assert line.take() is item
    assert line.set_aside(item, aside(10), 110.0, 1010.0)
    (letter,) = line.dead(10)
    assert letter.reason == "no worker has registered the task add"
    assert (letter.first, letter.last, letter.count) == (1010.0, 1010.0, 1)
    assert line.count().pending == line.count().aside == 0


def test_parked_messages_return_behind_all_others_in_the_order_of_their_times() -> None:
    line = MemoryQueue("q")
    for body, due in ((b"late", 3.0), (b"soon", 1.0), (b"tie", 1.0), (b"far", 9.0)):
        line.put_off(StoredMessage(body), due)
    line.put(StoredMessage(b"waits"))
    line.return_aside(3.0)
    assert waiting(line) == [b"waits", b"soon", b"tie", b"late"]
    assert line.next_return() == 9.0


def test_the_list_of_parked_messages_has_first_those_that_are_away() -> None:
    line, unknown, back = MemoryQueue("q"), StoredMessage(b"unknown"), StoredMessage(b"back")
    line.set_aside(unknown, aside(), 10.0, 0)
    line.set_aside(back, aside(), 20.0, 0)
    assert line.take() is unknown
    line.set_aside(unknown, aside(), 30.0, 0)
    line.put_off(StoredMessage(b"rated"), 31.0)
    line.put(StoredMessage(b"ordinary"))
    expected = [
        ParkedMessage(b"unknown", 1000.05, 980.0),
        ParkedMessage(b"rated", 1001.0, None),
        ParkedMessage(b"back", None, 990.0),
    ]
    found = line.parked(10, 30.0, 1000.0)
    assert [(each.body, each.since) for each in found] == [(each.body, each.since) for each in expected]
    assert [each.until for each in found] == [pytest.approx(1000.05), 1001.0, None]
    assert line.parked(1, 30.0, 1000.0) == found[:1]


# -- dead letters


def test_the_same_bytes_dead_twice_are_one_dead_letter_with_its_last_reason() -> None:
    line = MemoryQueue("q")
    for body, reason, unix in ((b"x", "one", 1.0), (b"y", "other", 2.0), (b"x", "two", 3.0)):
        line.dead_letter(StoredMessage(body), reason, unix)
    first, second = line.dead(10)
    assert (first.body, second.body) == (b"y", b"x"), "the longest dead first"
    assert (second.reason, second.count, second.first, second.last) == ("two", 2, 1.0, 3.0)
    assert second.id == hashlib.sha1(b"x").hexdigest()
    assert line.dead(1) == [first]


@pytest.mark.parametrize(("retry", "expected"), [(True, [b"waits", b"x"]), (False, [b"waits"])])
def test_dead_letters_are_taken_once(retry: bool, expected: list[bytes]) -> None:
    line = MemoryQueue("q")
    line.put(StoredMessage(b"waits"))
    line.dead_letter(StoredMessage(b"x", lost=3, crash_count=2), "why", 1.0)
    line.dead_letter(StoredMessage(b"y"), "why", 1.0)
    ids = [hashlib.sha1(b"x").hexdigest(), "unknown"]
    assert [line.take_dead(ids, retry) for _ in range(2)] == [1, 0]
    assert waiting(line) == expected
    assert all((item.lost, item.crash_count) == (0, None) for item in line), "it begins anew"
    assert [letter.body for letter in line.dead(10)] == [b"y"]
