"""Commits over the slots of a cluster: each call stays in one slot, and each message arrives in its own."""

from __future__ import annotations

import time
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from tests.unit.redis.recorder import Call, Recorder, bodies

from gearmesh.errors import ConfigError
from gearmesh.interfaces.commit import Commit, Delivery, Publish, Settle, Token
from gearmesh.redis_client.cluster import slot_of
from gearmesh.redis_client.cluster_commits import ClusterCommitScript
from gearmesh.redis_client.replicas import Replicas
from gearmesh.wire.names import QueueKeys, outbox
from gearmesh.wire.state import STARTED, TaskState

DELAYED = "delayed_tasks"
FAR = time.time_ns() + 10**15
#: Queues in four slots; two of them share one.
QUEUES = ["a", "b", "{tag}.one", "{tag}.two", "c"]


def script() -> ClusterCommitScript:
    return ClusterCommitScript(keys=QueueKeys, delayed=DELAYED, replicas=Replicas())


def settled(queue: str, *publishes: Publish, id: int = 1, how: Any = "ack") -> Commit:
    return Commit(settle=Settle(Delivery(queue=queue, consumer="c", id=id), how), publishes=tuple(publishes))


def arrived(call: Call) -> list[tuple[str, bytes]]:
    """The key and body of each message that a call sends."""
    return [
        (queue.decode() or DELAYED, body)
        for entry in call.entries
        for queue, body, *_ in entry.publishes
    ]  # fmt: skip


def slots(call: Call) -> set[int]:
    """The slots of all keys that a call touches."""
    keys = [call.route, *(key for key, _ in arrived(call))]
    keys += [entry.held.decode() for entry in call.entries if entry.held]
    keys += [call.token.decode()] if call.token else []
    keys += [call.more[1].decode()] if len(call.more) > 1 and call.more[1] else []
    return {slot_of(key) for key in keys}


def test_a_key_s_slot_is_the_cluster_s() -> None:
    assert slot_of("foo") == slot_of(b"foo") == key_slot(b"foo") == 12182
    assert slot_of("{foo}.bar") == slot_of("foo")


queues = st.sampled_from(QUEUES)
messages = st.tuples(queues, st.sampled_from([0, 0, FAR]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.none() | queues, st.lists(messages, max_size=4)), max_size=8), st.booleans())
def test_each_call_stays_in_a_slot_and_each_message_arrives_once(
    plan: list[tuple[str | None, list[tuple[str, int]]]], named: bool
) -> None:
    expected, commits, number = [], [], 0
    for queue, sends in plan:
        publishes = []
        for target, eta in sends:
            number += 1
            publishes.append(Publish(target, b"%d" % number, eta))
            expected.append((DELAYED if eta else target, b"%d" % number))
        if queue is None:
            commits.append(Commit(publishes=tuple(publishes)))
        else:
            commits.append(settled(queue, *publishes, id=number))
    client: Any = Recorder()
    token = Token("producer", 1) if named else None
    assert script().commit(client, commits, token=token) == ["done"] * len(commits)
    for call in client.calls:
        assert len(slots(call)) == 1
    assert sorted(each for call in client.calls for each in arrived(call)) == sorted(expected)
    held = [entry.id for entry in client.entries if entry.held]
    assert len(held) == sum(queue is not None for queue, _ in plan), "each delivery is settled once"


def test_a_commit_within_a_slot_needs_no_outbox() -> None:
    client: Any = Recorder()
    script().commit(client, [settled("{tag}.one", Publish("{tag}.two", b"next"))])
    (call,) = client.calls
    assert arrived(call) == [("{tag}.two", b"next")]
    assert call.more == ()
    assert call.entries[0].elsewhere is None
    assert not client.other


def test_messages_to_another_slot_go_through_the_outbox_and_are_struck_off() -> None:
    client: Any = Recorder()
    assert script().commit(client, [settled("a", Publish("b", b"next"), Publish("a", b"here"))]) == ["done"]
    first, second = client.calls
    assert arrived(first) == [("a", b"here")]
    assert first.entries[0].elsewhere == [[b"b", b"next", b""]]
    _, box, mark = first.more
    assert box.decode() == outbox("a")
    assert (second.route, arrived(second)) == ("b", [("b", b"next")])
    dead = QueueKeys("b")
    assert second.entries[0].publishes[0][3:] == [dead.dead.encode(), dead.dead_entry.encode()]
    assert client.other == [("HDEL", outbox("a"), mark.decode())]


def test_the_messages_to_other_slots_count_in_the_size_of_a_call() -> None:
    """The server writes them into the outbox in the same call."""
    client: Any = Recorder()
    commits = [settled("a", Publish("b", b" " * 700_000), id=n) for n in range(3)]
    assert script().commit(client, commits) == ["done"] * 3
    assert max(call.size for call in client.calls) < 1 << 20


def test_a_delivery_that_was_lost_sends_nothing_to_another_slot() -> None:
    client: Any = Recorder("01")
    commits = [settled("a", Publish("b", b"%d" % n), id=n) for n in range(2)]
    assert script().commit(client, commits) == ["lost", "done"]
    assert bodies(client.entries) == [b"1"]


def test_outcomes_are_in_the_order_of_the_commits_whichever_slot_answers_first() -> None:
    client: Any = Recorder("1", "01")
    commits = [Commit(publishes=(Publish("b", b""),)), settled("a", id=1), settled("a", id=2)]
    assert script().commit(client, commits) == ["done", "lost", "done"]
    client = Recorder("0", "1")
    assert script().commit(client, [commits[1], commits[0]]) == ["lost", "done"]


def test_if_all_were_lost_nothing_is_struck_off() -> None:
    client: Any = Recorder("0")
    assert script().commit(client, [settled("a", Publish("b", b"next"))]) == ["lost"]
    assert (len(client.calls), client.other) == (1, [])


def test_a_batch_goes_into_each_slot_once() -> None:
    """Sent by several at once, it has the same token, and its mark tells it from the producer's other batches."""
    client: Any = Recorder()
    one = script()
    for _ in range(2):
        one.commit(client, [settled("a", Publish("b", b"next"))])
    marks = [call.more[2] for call in client.calls if len(call.more) == 3]
    sends = [call for call in client.calls if len(call.more) == 1]
    assert marks == sorted(set(marks))
    assert [call.token for call in sends] == [sends[0].token] * 2
    assert sends[0].place < sends[1].place
    assert sends[0].more == (86_400_000,), "the server remembers it for a day"
    producer = marks[0].decode().rpartition(".")[0]
    assert sends[0].token == b"gearmesh:{b}:sent:" + producer.encode()


def test_a_leftover_of_an_outbox_is_sent_under_its_own_mark() -> None:
    """Every sender gives each slot the same token and place, so the batch goes in once."""
    client: Any = Recorder()
    box = outbox("a")
    left = msgpack.packb([("b", b"x", ""), ("", b"y", "9"), ("b", b"z", "")], use_bin_type=False)
    client.boxes = {box: {b"dead.0000000000000005": left}}
    assert script().finish(client, "a") == 3
    assert {call.route: arrived(call) for call in client.calls} == {
        "b": [("b", b"x"), ("b", b"z")],
        DELAYED: [(DELAYED, b"y")],
    }
    assert {(call.token.decode(), call.place.decode()) for call in client.calls} == {
        ("gearmesh:{b}:sent:dead", "0000000000000005.000000000"),
        (f"gearmesh:{{{DELAYED}}}:sent:dead", "0000000000000005.000000000"),
    }
    assert client.boxes == {box: {}}


def test_an_earlier_connection_s_outbox_is_sent_before_anything_new() -> None:
    client: Any = Recorder()
    left = msgpack.packb([("b", b"old", "")], use_bin_type=False)
    client.boxes = {outbox("a"): {b"me.0000000000000001": left}}
    one = script()
    for _ in range(2):
        one.commit(client, [settled("a", Publish("b", b"new"))])
    assert bodies(client.entries) == [b"old", b"new", b"new"]
    assert client.looked == [outbox("a")], "one look will do"


def test_after_trouble_the_producer_has_another_name_and_looks_again() -> None:
    """Other workers may at any time send the messages under the old name."""
    client: Any = Recorder("1", RedisConnectionError())
    one = script()
    with pytest.raises(RedisConnectionError):
        one.commit(client, [settled("a", Publish("b", b"lost"))])
    mark = client.calls[0].more[2]
    assert not client.other, "the message stays in the outbox"
    client.boxes = {outbox("a"): {mark: msgpack.packb([("b", b"lost", "")], use_bin_type=False)}}
    one.commit(client, [settled("a", Publish("b", b"next"))])
    assert bodies(client.entries) == [b"lost", b"lost", b"next"], "tried, tried again, and then the new one"
    new = client.calls[-2].more[2]
    assert new.rpartition(b".")[0] != mark.rpartition(b".")[0]


def test_delayed_messages_wait_in_the_delayed_set_whether_they_are_due_or_not() -> None:
    client: Any = Recorder()
    script().commit(client, [Commit(publishes=(Publish("a", b"far", FAR),))])
    (call,) = client.calls
    assert (call.route, call.entries[0].publishes) == (DELAYED, [[b"", b"far", str(FAR).encode()]])
    assert not client.other


def test_delayed_messages_that_are_due_go_on_at_once() -> None:
    client: Any = Recorder()
    script().commit(client, [Commit(publishes=(Publish("a", b"due", 5), Publish("b", b"far", FAR)))])
    take, strike = client.other
    assert take[:3] == ("take_due", DELAYED, outbox(DELAYED))
    assert msgpack.unpackb(take[3], raw=True) == [[b"due", b"a"]]
    assert (client.calls[-1].route, arrived(client.calls[-1])) == ("a", [("a", b"due")])
    assert strike == ("HDEL", outbox(DELAYED), take[4])


def test_a_queue_without_a_slot_of_its_own_is_refused_before_anything_happens() -> None:
    client: Any = Recorder()
    for commit in (settled("a", Publish("x}y", b"")), Commit(publishes=(Publish("x}y", b""),))):
        with pytest.raises(ConfigError, match="cluster slot"):
            script().commit(client, [commit])
    assert not client.calls


def test_states_are_left_to_their_backend() -> None:
    client: Any = Recorder()
    commit = Commit(states=(TaskState(TaskUUID="t", State=STARTED),), settle=settled("a").settle)
    script().commit(client, [commit], atomic=True)
    assert client.entries[0].states == []


def test_a_batch_without_anything_for_redis_is_done() -> None:
    client: Any = Recorder()
    assert script().commit(client, [Commit(), Commit()]) == ["done", "done"]
    assert not client.calls
