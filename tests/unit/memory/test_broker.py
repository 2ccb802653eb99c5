"""The memory broker: Commits, repeated batches, delayed messages and the counts for people."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh.interfaces.commit import ChordCheck, Commit, Delivery, Publish, Settle, Token, Trigger
from gearmesh.transports.memory.broker import BROKERS, MAX_REMEMBERED_BATCHES, Broker
from gearmesh.transports.memory.queue import ChannelUnacked, StoredMessage
from gearmesh.wire.state import SUCCESS, TaskState

HOUR = 3600 * 10**9


def fetched(broker: Broker, count: int, queue: str = "q", consumer: str = "c") -> list[Delivery]:
    for n in range(count):
        broker.put(queue, StoredMessage(b"%d" % n))
    return [held.delivery for held in broker.fetch(ChannelUnacked(), consumer, queue, count)]


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
        ("later", {"aside": 1}),
        ("dead", {"dead": 1}),
    ],
)
def test_each_way_to_settle_has_its_place(how: Any, places: dict[str, int]) -> None:
    broker = Broker()
    (delivery,) = fetched(broker, 1)
    assert broker.commit([settle(delivery, how, at_ns=time.time_ns() + HOUR)]) == ["done"]
    count = broker.count("q")
    found = {name: getattr(count, name) for name in ("pending", "held", "aside", "dead")}
    assert {name: number for name, number in found.items() if number} == places


def test_a_lost_delivery_settles_sends_and_writes_nothing() -> None:
    broker, states = Broker(), States()
    (delivery,) = fetched(broker, 1)
    assert broker.recover("c", ["q"], lost=True) == 1
    commit = Commit(
        settle=Settle(delivery),
        publishes=(Publish("next", b"x"),),
        states=(TaskState(TaskUUID="t", State=SUCCESS),),
    )
    assert broker.commit([commit], states=states) == ["lost"]
    assert broker.pending("q", 10) == [b"0"]
    assert broker.pending("next", 10) == []
    assert states.written == []


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
    for seq in range(MAX_REMEMBERED_BATCHES + 5):
        broker.commit([], Token("p", seq))
    assert len(broker._sent) == MAX_REMEMBERED_BATCHES


class States:
    """A backend that records; a group in ``complete`` is complete, one in ``free`` has a trigger to take."""

    def __init__(self, complete: Sequence[str] = (), free: Sequence[str] = ()) -> None:
        self.written: list[str] = []
        self._complete, self._free = complete, list(free)

    def locked(self) -> AbstractContextManager[object]:
        return nullcontext()

    def write(self, states: Sequence[TaskState]) -> None:
        self.written += [state.TaskUUID for state in states]

    def complete(self, group_uuid: str, members: int) -> bool:
        return group_uuid in self._complete

    def take(self, group_uuid: str, by: str) -> bool:
        if group_uuid not in self._free:
            return False
        self._free.remove(group_uuid)
        return True


STATE = (TaskState(TaskUUID="t", State=SUCCESS),)


def test_the_last_member_is_written_and_kept_until_its_chord_is_triggered() -> None:
    broker, states = Broker(), States(complete=["full"])
    one, other = fetched(broker, 2)
    outcomes = broker.commit(
        [
            Commit(settle=Settle(one), states=STATE, chord=ChordCheck("full", 2)),
            Commit(settle=Settle(other), states=STATE, chord=ChordCheck("open", 2)),
        ],
        states=states,
    )
    assert outcomes == ["complete", "done"]
    assert states.written == ["t", "t"]
    assert [delivery for delivery, _ in broker.held("c", ["q"])] == [one]


def test_the_winner_of_a_trigger_alone_sends_the_callback() -> None:
    broker, states = Broker(), States(free=["group"])
    callback = (TaskState(TaskUUID="callback", State=SUCCESS),)
    trigger = Trigger("group", "t", callback, (Publish("next", b"callback"),))
    commits = [
        Commit(settle=Settle(each), publishes=(Publish("next", b"own"),), trigger=trigger)
        for each in fetched(broker, 2)
    ]
    assert broker.commit(commits, states=states) == ["done", "done"]
    assert broker.pending("next", 10) == [b"own", b"callback", b"own"]
    assert states.written == ["callback"]
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
    assert sorted(broker.purge_delayed("q")) == [b"x", b"y"]
    assert [each.body for each in broker.delayed(10)] == [b"z"]


def test_the_next_delayed_message_is_known_after_a_purge() -> None:
    broker, now = Broker(), time.time_ns()
    for queue, hours in (("q", 1), ("other", 10), ("other", 2)):
        broker.commit([publish(b"x", queue=queue, eta_ns=now + hours * HOUR)])
    broker.purge_delayed("q")
    assert broker.advance() == pytest.approx(7200, abs=60)


# -- fetching


def test_a_fetch_takes_no_more_than_it_may_and_numbers_never_repeat() -> None:
    broker, owner = Broker(), ChannelUnacked()
    for name in ("q", "r"):
        for n in range(3):
            broker.put(name, StoredMessage(b"%d" % n))
    found = [held for name in ("q", "r", "q") for held in broker.fetch(owner, "c", name, 2)]
    assert [held.item.body for held in found] == [b"0", b"1", b"0", b"1", b"2"]
    ids = [held.delivery.id for held in found]
    assert ids == sorted(set(ids))
    assert list(owner.held) == ids


def test_a_fetch_without_a_lease_holds_nothing() -> None:
    broker, owner = Broker(), ChannelUnacked()
    broker.put("q", StoredMessage(b"x"))
    (held,) = broker.fetch(owner, "c", "q", 5, keep=False)
    assert held.item.body == b"x"
    assert (owner.held, broker.count("q").held) == ({}, 0)


def test_leases_that_are_given_up_return_in_order_and_settled_ones_do_not() -> None:
    broker, owner = Broker(), ChannelUnacked()
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
    broker.recover("c", ["q"], lost=True, running=[first.id])
    (again,) = broker.fetch(ChannelUnacked(), "c", "q", 1)
    assert (again.delivery.redelivered, again.delivery.crash_count) == (1, 1)


# -- people


def test_a_queue_is_listed_while_anything_is_in_it() -> None:
    broker = Broker()
    assert broker.count("unheard of").pending == 0
    assert not broker.has("unheard of"), "to look does not make it"
    broker.put("b", StoredMessage(b"x"))
    broker.put("a", StoredMessage(b"x"))
    assert broker.queues() == ["a", "b"]
    assert broker.purge("a") == [b"x"]
    assert broker.queues() == ["b"]


def test_heartbeats_count_for_known_consumers_and_end_with_them() -> None:
    broker = Broker()
    (delivery,) = fetched(broker, 1)
    broker.heartbeat("unknown", ["q"])
    assert broker.count("q").consumers == 1
    before = broker.line("q").beats["c"]
    broker.heartbeat("c", ["q"])
    assert broker.line("q").beats["c"] > before
    broker.leave("c")
    assert broker.count("q").consumers == 1, "it still holds a message"
    broker.commit([settle(delivery)])
    broker.leave("c")
    assert broker.count("q").consumers == 0


def test_a_name_has_one_broker_as_long_as_it_is_used() -> None:
    one = BROKERS.get("name")
    assert BROKERS.get("name") is one
    assert BROKERS.get("other") is not one
    one.put("q", StoredMessage(b"x"))
    del one
    assert BROKERS.get("name").pending("q", 10) == []
