"""One queue of the memory broker: its order, its unacked deliveries, its parked messages and its dead letters."""

from __future__ import annotations

import hashlib
import math

from hypothesis import given
from hypothesis import strategies as st
from tests.support.memory import hold, waiting

from gearmesh.interfaces.commit import Delivery, Settle
from gearmesh.transports.memory.queue import MemoryQueue, StoredMessage, Unacked

puts = st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12)


def park(max_age: float = 100, reason: str = "add") -> Settle:
    return Settle(Delivery(queue="q", consumer="c", id=1), "park", reason, max_age)


@given(puts)
def test_a_higher_priority_goes_first_and_a_head_goes_before_its_own(puts: list[tuple[int, bool]]) -> None:
    queue, levels = MemoryQueue("q"), dict[int, list[bytes]]()
    for n, (priority, head) in enumerate(puts):
        queue.put(StoredMessage(b"%d" % n, priority=priority), head=head)
        levels.setdefault(priority, []).insert(0 if head else n, b"%d" % n)
    expected = [body for level in sorted(levels, reverse=True) for body in levels[level]]
    assert waiting(queue) == expected
    assert len(queue) == len(expected)
    taken = [message.body for _ in range(len(expected)) if (message := queue.take()) is not None]
    assert taken == expected
    assert queue.take() is None
    assert queue.idle


def test_a_settled_delivery_is_found_no_more() -> None:
    queue, of_channel = MemoryQueue("q"), dict[int, Unacked]()
    unacked = hold(queue, 1, of_channel=of_channel)
    assert queue.find(unacked.delivery) is unacked
    assert of_channel == {1: unacked}
    assert queue.release(unacked) is unacked.message
    assert queue.find(unacked.delivery) is None
    assert of_channel == {}
    assert queue.idle


def test_an_unknown_task_goes_to_the_tail_once_and_is_then_parked_ever_longer() -> None:
    queue, message, now, pauses = MemoryQueue("q"), StoredMessage(b"x"), 100.0, []
    assert not queue.park(message, park(math.inf), now, 0)
    assert queue.take() is message, "another worker may want it at once"
    for _ in range(14):
        assert not queue.park(message, park(math.inf), now, 0)
        due = queue.return_parked(now)
        assert due is not None
        pauses.append(round(due - now, 3))
        assert queue.return_parked(due - 0.001) == due
        assert queue.take() is None, "the message is not due yet"
        assert queue.return_parked(due) is None
        assert queue.take() is message
        now = due
    assert pauses[:4] == [0.05, 0.1, 0.2, 0.4]
    assert pauses == [min(30.0, round(0.05 * 2**n, 3)) for n in range(14)]
    assert pauses[-1] == 30.0


def test_an_unknown_task_becomes_a_dead_letter_after_its_greatest_age() -> None:
    queue, message = MemoryQueue("q"), StoredMessage(b"x")
    assert not queue.park(message, park(10), 100.0, 1000.0)
    assert queue.take() is message
    assert not queue.park(message, park(10), 109.9, 1009.9)
    queue.return_parked(math.inf)
    assert queue.take() is message
    assert queue.park(message, park(10), 110.0, 1010.0)
    (letter,) = queue.dead.values()
    assert letter.reason == "no worker has registered the task add"
    assert (letter.first, letter.last, letter.count) == (1010.0, 1010.0, 1)
    assert (len(queue), queue.parked) == (0, [])


def test_parked_messages_return_behind_all_others_in_the_order_of_their_times() -> None:
    queue = MemoryQueue("q")
    for body, due in ((b"late", 3.0), (b"soon", 1.0), (b"tie", 1.0), (b"far", 9.0)):
        queue.put_off(StoredMessage(body), due)
    queue.put(StoredMessage(b"waits"))
    assert queue.return_parked(3.0) == 9.0
    assert waiting(queue) == [b"waits", b"soon", b"tie", b"late"]


# -- dead letters


def test_the_same_bytes_dead_twice_are_one_dead_letter_with_its_last_reason() -> None:
    queue = MemoryQueue("q")
    for body, reason, unix in ((b"x", "one", 1.0), (b"y", "other", 2.0), (b"x", "two", 3.0)):
        queue.dead_letter(StoredMessage(body), reason, unix)
    first, second = queue.dead.values()
    assert (first.body, second.body) == (b"y", b"x"), "the longest dead first"
    assert (second.reason, second.count, second.first, second.last) == ("two", 2, 1.0, 3.0)
    assert second.id == hashlib.sha1(b"x").hexdigest()
