"""The memory broker: Commits, repeated batches, delayed messages and the counts for people."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from math import inf
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.memory import hold, waiting

from gearmesh.backends.memory import MemoryBackend
from gearmesh.interfaces.commit import ChordCheck, Commit, Delivery, Publish, Settle, Token, Trigger
from gearmesh.transports.memory.broker import BROKERS, MAX_REMEMBERED_BATCHES, Broker
from gearmesh.transports.memory.queue import StoredMessage, Unacked
from gearmesh.wire.state import SUCCESS, GroupMeta, TaskState

HOUR = 3600 * 10**9


def fetched(broker: Broker, count: int, queue: str = "q", consumer: str = "c") -> list[Delivery]:
    for n in range(count):
        broker.put(queue, StoredMessage(b"%d" % n))
    return [held.delivery for held in broker.fetch({}, consumer, queue, count)]


def settle(delivery: Delivery, how: Any = "ack", **fields: Any) -> Commit:
    return Commit(settle=Settle(delivery, how, **fields))


def publish(*bodies: bytes, queue: str = "q", **fields: Any) -> Commit:
    return Commit(publishes=tuple(Publish(queue, body, **fields) for body in bodies))


# -- commits


@pytest.mark.parametrize(
    ("how", "places"),
    [
        ("keep", {"held": 1}),
        ("ack", {}),
        ("head", {"pending": 1}),
        ("tail", {"pending": 1}),
        ("park", {"pending": 1}),
        ("later", {"parked": 1}),
        ("dead", {"dead": 1}),
    ],
)
def test_each_way_to_settle_has_its_place(how: Any, places: dict[str, int]) -> None:
    broker = Broker()
    (delivery,) = fetched(broker, 1)
    assert broker.commit([settle(delivery, how, at_ns=time.time_ns() + HOUR)]) == ["done"]
    count = broker.count("q")
    found = {name: getattr(count, name) for name in ("pending", "held", "parked", "dead")}
    assert {name: number for name, number in found.items() if number} == places


def test_a_lost_delivery_settles_sends_and_writes_nothing() -> None:
    broker, backend = Broker(), Recording()
    (delivery,) = fetched(broker, 1)
    assert broker.recover("c", ["q"], crashed=True) == 1
    commit = Commit(
        settle=Settle(delivery),
        publishes=(Publish("next", b"x"),),
        states=(TaskState(TaskUUID="t", State=SUCCESS),),
    )
    assert broker.commit([commit], backend=backend) == ["lost"]
    assert broker.pending("q", 10) == [b"0"]
    assert broker.pending("next", 10) == []
    assert backend.written == []


@given(st.lists(st.sampled_from(["head", "tail"]), max_size=9), st.randoms(use_true_random=False))
def test_put_back_messages_stand_at_the_head_in_their_order(hows: list[Any], random: Any) -> None:
    broker = Broker()
    commits = [settle(each, how) for each, how in zip(fetched(broker, len(hows)), hows, strict=True)]
    broker.put("q", StoredMessage(b"old"))
    random.shuffle(commits)
    assert broker.commit(commits) == ["done"] * len(commits)
    heads = [b"%d" % n for n, how in enumerate(hows) if how == "head"]
    assert broker.pending("q", 100)[: len(heads) + 1] == [*heads, b"old"]


def test_outcomes_are_in_the_order_of_the_commits_though_heads_go_last() -> None:
    broker = Broker()
    first, second = fetched(broker, 2)
    commits = [settle(first, "head"), settle(second), settle(second)]
    assert broker.commit(commits) == ["done", "done", "lost"]


def test_a_repeated_batch_happens_once_and_has_the_same_outcomes() -> None:
    broker = Broker()
    (delivery,) = fetched(broker, 1)
    batch = [settle(delivery), settle(delivery), publish(b"x", queue="next")]
    for _ in range(3):
        assert broker.commit(batch, Token("p", 1)) == ["done", "lost", "done"]
    assert broker.pending("next", 10) == [b"x"]
    broker.commit(batch, Token("p", 2))
    broker.commit(batch, Token("other", 1))
    assert broker.pending("next", 10) == [b"x"] * 3, "another batch, another producer"


def test_only_so_many_batches_are_remembered() -> None:
    broker = Broker()
    for seq in (*range(MAX_REMEMBERED_BATCHES + 1), MAX_REMEMBERED_BATCHES, 0):
        broker.commit([publish(b"x")], Token("p", seq))
    assert broker.count("q").pending == MAX_REMEMBERED_BATCHES + 2, "the first one is known no more"


class Recording(MemoryBackend):
    """A memory backend that records the states that it is given."""

    def __init__(self) -> None:
        super().__init__(uuid4().hex)
        self.written: list[str] = []

    def write(self, states: Sequence[TaskState]) -> None:
        self.written += [state.TaskUUID for state in states]
        super().write(states)


STATE = (TaskState(TaskUUID="t", State=SUCCESS),)


def test_the_last_member_is_written_and_kept_until_its_chord_is_triggered() -> None:
    broker, backend = Broker(), Recording()
    backend.create_group(GroupMeta(GroupUUID="full", TaskUUIDs=("t",)))
    backend.create_group(GroupMeta(GroupUUID="open", TaskUUIDs=("t", "u")))
    one, other = fetched(broker, 2)
    outcomes = broker.commit(
        [
            Commit(settle=Settle(one), states=STATE, chord=ChordCheck("full", 1)),
            Commit(settle=Settle(other), states=STATE, chord=ChordCheck("open", 2)),
        ],
        backend=backend,
    )
    assert outcomes == ["complete", "done"]
    assert backend.written == ["t", "t"]
    assert [delivery for delivery, _ in broker.held("c", ["q"])] == [one]


def test_the_winner_of_a_trigger_alone_sends_the_callback() -> None:
    broker, backend = Broker(), Recording()
    backend.create_group(GroupMeta(GroupUUID="group", TaskUUIDs=("t", "u")))
    callback = (TaskState(TaskUUID="callback", State=SUCCESS),)
    commits = [
        Commit(
            settle=Settle(each),
            publishes=(Publish("next", b"own"),),
            trigger=Trigger("group", by, callback, (Publish("next", b"callback"),)),
        )
        for each, by in zip(fetched(broker, 2), "tu", strict=True)
    ]
    assert broker.commit(commits, backend=backend) == ["done", "done"]
    assert broker.pending("next", 10) == [b"own", b"callback", b"own"]
    assert backend.written == ["callback"]
    assert broker.held("c", ["q"]) == []


def test_states_that_are_elsewhere_are_ignored() -> None:
    broker = Broker()
    (delivery,) = fetched(broker, 1)
    commit = Commit(settle=Settle(delivery), states=STATE, chord=ChordCheck("full", 1))
    assert broker.commit([commit]) == ["done"]
    assert broker.held("c", ["q"]) == []


# -- delayed


def test_delayed_messages_wait_for_their_time_and_then_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, start = Broker(), 10**18
    monkeypatch.setattr(time, "time_ns", lambda: start)
    broker.commit([publish(b"c", eta_ns=start + 3 * 10**9), publish(b"a", eta_ns=start + 10**9)])
    broker.commit(
        [publish(b"b", eta_ns=start + 10**9), publish(b"now", eta_ns=start), publish(b"past", eta_ns=1)]
    )
    assert broker.pending("q", 10) == [b"now", b"past"]
    assert [each.body for each in broker.delayed(10)] == [b"a", b"b", b"c"]
    assert broker.delayed(1)[0].eta_ns == start + 10**9
    assert broker.advance() == pytest.approx(1.0)
    start += 10**9
    assert broker.advance() == pytest.approx(2.0)
    assert broker.pending("q", 10) == [b"now", b"past", b"a", b"b"]
    start += HOUR
    assert broker.advance() is None
    assert broker.pending("q", 10)[-1] == b"c"


def test_a_purge_of_delayed_messages_is_for_one_queue() -> None:
    broker, eta = Broker(), time.time_ns() + HOUR
    broker.commit([publish(b"x", b"y", eta_ns=eta), publish(b"z", queue="other", eta_ns=eta)])
    gone: list[bytes] = []
    assert broker.purge_delayed("q", gone.extend) == 2
    assert sorted(gone) == [b"x", b"y"]
    assert [each.body for each in broker.delayed(10)] == [b"z"]


def test_the_next_delayed_message_is_known_after_a_purge() -> None:
    broker, now = Broker(), time.time_ns()
    for queue, hours in (("q", 1), ("other", 10), ("other", 2)):
        broker.commit([publish(b"x", queue=queue, eta_ns=now + hours * HOUR)])
    broker.purge_delayed("q")
    assert broker.advance() == pytest.approx(7200, abs=60)


# -- fetching


def test_a_fetch_takes_no_more_than_it_may_and_numbers_never_repeat() -> None:
    broker, owner = Broker(), dict[int, Unacked]()
    for name in ("q", "r"):
        for n in range(3):
            broker.put(name, StoredMessage(b"%d" % n))
    found = [held for name in ("q", "r", "q") for held in broker.fetch(owner, "c", name, 2)]
    assert [held.message.body for held in found] == [b"0", b"1", b"0", b"1", b"2"]
    ids = [held.delivery.id for held in found]
    assert ids == sorted(set(ids))
    assert list(owner) == ids


def test_a_fetch_without_a_lease_holds_nothing() -> None:
    broker, owner = Broker(), dict[int, Unacked]()
    broker.put("q", StoredMessage(b"x"))
    (held,) = broker.fetch(owner, "c", "q", 5, no_ack=True)
    assert held.message.body == b"x"
    assert (owner, broker.count("q").held) == ({}, 0)


def test_leases_that_are_given_up_return_in_order_and_settled_ones_do_not() -> None:
    broker, owner = Broker(), dict[int, Unacked]()
    for n in range(4):
        broker.put("q", StoredMessage(b"%d" % n))
    found = broker.fetch(owner, "c", "q", 3)
    broker.commit([settle(found[1].delivery)])
    broker.put_back(found)
    assert broker.pending("q", 10) == [b"0", b"2", b"3"]


def test_a_delivery_tells_how_often_it_was_lost_and_how_many_processes_crashed() -> None:
    broker = Broker()
    (first,) = fetched(broker, 1)
    assert (first.redelivered, first.crash_count) == (0, None)
    broker.recover("c", ["q"], crashed=True, running=[first.id])
    (again,) = broker.fetch({}, "c", "q", 1)
    assert (again.delivery.redelivered, again.delivery.crash_count) == (1, 1)


# -- consumers that died


@given(st.permutations(range(6)), st.lists(st.integers(0, 3), max_size=3))
def test_a_dead_consumer_s_messages_return_in_order_before_all_others(ids: list[int], old: list[int]) -> None:
    broker = Broker()
    queue = broker.queue("q")
    for n in old:
        queue.put(StoredMessage(b"old %d" % n))
    before = waiting(queue)
    for id in ids:
        hold(queue, id, "dead")
    hold(queue, 9, "living")
    assert broker.recover("dead", ["q"], crashed=True) == 6
    assert waiting(queue) == [b"%d" % n for n in range(6)] + before
    assert list(queue.unacked) == ["living"]
    assert broker.recover("dead", ["q"], crashed=True) == 0


def test_a_consumer_that_ends_as_it_should_blames_nothing() -> None:
    broker = Broker()
    message = hold(broker.queue("q"), 1).message
    broker.recover("c", ["q"], running=[1])
    assert (message.losses, message.crash_count) == (0, None)


@pytest.mark.parametrize(
    ("running", "certain", "crash_counts"),
    [
        ([1], True, [1, None]),  # it ran alone: it did it
        ([1], False, [None, None]),  # something else may have killed the process
        ([1, 2], True, [0, 0]),  # one of them did it
        ([], True, [None, None]),
        (None, True, [None, None]),  # the running messages are unknown: none is isolated at the first loss
    ],
)
def test_a_death_isolates_the_messages_that_ran(
    running: list[int] | None, certain: bool, crash_counts: list[float | None]
) -> None:
    broker = Broker()
    messages = [hold(broker.queue("q"), id).message for id in (1, 2)]
    broker.recover("c", ["q"], crashed=True, running=running, certain=certain)
    assert [message.crash_count for message in messages] == crash_counts
    assert [message.losses for message in messages] == [1, 1]


def test_a_second_uncertain_death_counts_a_quarter_to_a_message_that_was_alone() -> None:
    broker, message = Broker(), StoredMessage(b"x")
    found = []
    for id in range(1, 4):
        hold(broker.queue("q"), id, message=message)
        broker.recover("c", ["q"], crashed=True, running=[id], certain=False)
        found.append(message.crash_count)
        assert broker.queue("q").take() is message
    assert found == [None, 0.25, 0.5]


# -- inspection


def test_a_purge_leaves_the_held_messages() -> None:
    broker, gone = Broker(), list[bytes]()
    queue = broker.queue("q")
    queue.put(StoredMessage(b"waits"))
    queue.put_off(StoredMessage(b"parked"), 5.0)
    hold(queue, 1)
    assert broker.purge("q", gone.extend) == 2
    assert sorted(gone) == [b"parked", b"waits"]
    count = broker.count("q")
    assert (count.pending, count.parked, count.held) == (0, 0, 1)


def test_the_list_of_parked_messages_has_first_those_that_are_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 30.0)
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    broker, unknown, back = Broker(), StoredMessage(b"unknown"), StoredMessage(b"back")
    queue = broker.queue("q")
    settle = Settle(Delivery(queue="q", consumer="c", id=1), "park", "add", 100)
    queue.park(unknown, settle, 10.0, 0)
    queue.park(back, settle, 20.0, 0)
    assert queue.take() is unknown
    queue.park(unknown, settle, 30.0, 0)
    queue.put_off(StoredMessage(b"rated"), 31.0)
    queue.put(StoredMessage(b"ordinary"))
    found = broker.parked("q", 10)
    assert [(each.body, each.since) for each in found] == [
        (b"unknown", 980.0),
        (b"rated", None),
        (b"back", 990.0),
    ]
    assert [each.until for each in found] == [pytest.approx(1000.05), 1001.0, None]
    assert broker.parked("q", 1) == found[:1]


@pytest.mark.parametrize(("retry", "expected"), [(True, [b"waits", b"x"]), (False, [b"waits"])])
def test_dead_letters_are_taken_once(retry: bool, expected: list[bytes]) -> None:
    broker = Broker()
    queue = broker.queue("q")
    queue.put(StoredMessage(b"waits"))
    queue.dead_letter(StoredMessage(b"x", losses=3, crash_count=2), "why", 1.0)
    queue.dead_letter(StoredMessage(b"y"), "why", 1.0)
    assert [letter.body for letter in broker.dead_letters("q", 1)] == [b"x"]
    ids = [hashlib.sha1(b"x").hexdigest(), "unknown"]
    assert [broker.take_dead("q", ids, retry=retry) for _ in range(2)] == [1, 0]
    assert waiting(queue) == expected
    assert all((message.losses, message.crash_count) == (0, None) for message in queue), (
        "the counts begin anew"
    )
    assert [letter.body for letter in broker.dead_letters("q")] == [b"y"]


def test_a_queue_is_listed_while_anything_is_in_it() -> None:
    broker = Broker()
    assert broker.count("unheard of").pending == 0
    assert not broker.has("unheard of"), "to look does not make it"
    broker.put("b", StoredMessage(b"x"))
    broker.put("a", StoredMessage(b"x"))
    assert broker.queues() == ["a", "b"]
    assert broker.purge("a") == 1
    assert broker.queues() == ["b"]


def test_heartbeats_count_for_known_consumers_and_end_with_them() -> None:
    broker = Broker()
    (delivery,) = fetched(broker, 1)
    broker.heartbeat("unknown", ["q"])
    assert broker.count("q").consumers == 1
    before = broker.queue("q").heartbeats["c"]
    broker.heartbeat("c", ["q"])
    assert broker.queue("q").heartbeats["c"] > before
    broker.leave("c")
    assert broker.count("q").consumers == 1, "the consumer still holds a message"
    broker.commit([settle(delivery)])
    broker.leave("c")
    assert broker.count("q").consumers == 0


def test_a_consumer_is_dead_a_lease_after_its_last_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, now = Broker(), 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    fetched(broker, 1, consumer="other")
    fetched(broker, 0, consumer="idle")
    assert broker.reap("me", ["q"], 10.0) == 10.0
    assert broker.reap("other", ["q"], 10.0) == inf, "none reaps itself, or a consumer that holds nothing"
    now = 109.0
    assert broker.reap("me", ["q"], 10.0) == 1.0
    broker.heartbeat("other", ["q"])
    assert broker.reap("me", ["q"], 10.0) == 10.0, "the consumer lives"
    now = 119.0
    assert broker.reap("me", ["q"], 10.0) == inf
    assert broker.pending("q") == [b"0"]
    assert list(broker.queue("q").heartbeats) == ["idle"]


def test_a_name_has_one_broker_as_long_as_it_is_used() -> None:
    one = BROKERS.get("name")
    assert BROKERS.get("name") is one
    assert BROKERS.get("other") is not one
    one.put("q", StoredMessage(b"x"))
    del one
    assert BROKERS.get("name").pending("q", 10) == []
