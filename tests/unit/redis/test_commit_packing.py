"""The payload that carries Commits to the commit script, and the outcomes read from its answer."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.redis.recorder import Answer, Recorder, bodies

from gearmesh.commits.group_cache import GroupCache
from gearmesh.errors import BackendError, LocalProtocolError
from gearmesh.interfaces.commit import ChordCheck, Commit, Delivery, Outcome, Publish, Settle, Token, Trigger
from gearmesh.redis_client.commit_script import CommitScript
from gearmesh.redis_client.state_text import pack_state
from gearmesh.wire import types as wire
from gearmesh.wire.codec import encode_group, encode_state
from gearmesh.wire.names import QueueKeys
from gearmesh.wire.state import (
    FAILURE,
    PENDING,
    RECEIVED,
    STARTED,
    SUCCESS,
    ZERO_TIME,
    GroupMeta,
    TaskState,
)

#: The bounds of one call of the script.
ENTRIES, BYTES = 256, 1 << 20
KEYS = QueueKeys("q")

law = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def script(**options: Any) -> CommitScript:
    return CommitScript(keys=QueueKeys, expire=60, **options)


def delivery(id: int = 7, redelivered: int = 0, queue: str = "q") -> Delivery:
    return Delivery(queue=queue, consumer="c", id=id, redelivered=redelivered)


def settle(how: Any = "ack", id: int = 7, **fields: Any) -> Commit:
    return Commit(settle=Settle(delivery(id), how, **fields))


def again(id: int = 7) -> Commit:
    """An ack that needs the commit script: of a message that was lost before."""
    return Commit(settle=Settle(delivery(id, redelivered=1)))


def sent(commit: Commit, atomic: bool = True) -> Any:
    """The one entry that a commit becomes."""
    client: Any = Recorder()
    script().commit(client, [commit], atomic=atomic)
    (entry,) = client.entries
    return entry


# -- settling


def test_an_ordinary_ack_says_the_delivery_and_nothing_else() -> None:
    assert sent(settle()) == (KEYS.held("c").encode(), b"7", 1, [], [], 0, None, None, None)


@pytest.mark.parametrize(
    ("how", "number", "settling"),
    [
        ("keep", 0, None),
        ("head", 2, ["q", ""]),
        ("tail", 3, ["q", ""]),
        (
            "park",
            4,
            [
                "q", "", KEYS.seen, KEYS.aside, "c/7", 86_400_000, KEYS.dead, KEYS.dead_entry, "why",
                KEYS.out, KEYS.wanted,
            ],
        ),
        ("dead", 5, ["q", "", KEYS.dead, KEYS.dead_entry, "why"]),
        ("later", 6, ["q", "", KEYS.aside, "c/7", 1_500]),
    ],
)  # fmt: skip
def test_each_way_to_settle_brings_the_keys_it_needs(how: Any, number: int, settling: Any) -> None:
    entry = sent(settle(how, reason="why", at_ns=1_500_999_999))
    expected = settling and [each.encode() if isinstance(each, str) else each for each in settling]
    assert (entry.how, entry.settling) == (number, expected)


@pytest.mark.parametrize("how", ["keep", "ack", "head", "tail", "park", "dead", "later"])
def test_the_count_of_losses_is_at_hand_for_a_delivery_that_was_lost_before(how: Any) -> None:
    entry = sent(Commit(settle=Settle(delivery(redelivered=1), how)))
    assert entry.settling[1] == KEYS.recovered.encode()


def test_the_keys_of_a_consumer_are_of_its_queue() -> None:
    """The script caches the keys: many queues and consumers do not mix them up."""
    client: Any = Recorder()
    one = script()
    spots = [(f"q{n % 7}", f"c{n}") for n in range(1100)] * 2
    for queue, consumer in spots:
        one.commit(
            client, [Commit(settle=Settle(Delivery(queue=queue, consumer=consumer, id=1)))], atomic=False
        )
    assert [entry.held.decode() for entry in client.entries] == [
        QueueKeys(queue).held(consumer) for queue, consumer in spots
    ]


def test_a_publish_that_settles_nothing_has_no_lease() -> None:
    commit = Commit(publishes=(Publish("q", b"now"), Publish("r", b"then", 5), Publish("s", b"past", -5)))
    entry = sent(commit)
    assert (entry.held, entry.id, entry.how) == (b"", b"", 0)
    assert entry.publishes == [[b"q", b"now", b""], [b"r", b"then", b"5"], [b"s", b"past", b""]]


# -- states


uuids = st.text("abz09_-:.", min_size=1) | st.text(min_size=1, max_size=9)
texts = st.text(max_size=12) | st.sampled_from(["", "<a>&", '"', "é\u2028"])
results = st.none() | st.lists(
    st.sampled_from([("int64", 7), ("string", "<é\u2028>"), ("[]byte", b"\xff"), ("float64", 1e21)])
).map(lambda found: tuple(wire.result(*each) for each in found))


@given(
    st.builds(
        TaskState,
        TaskUUID=uuids,
        State=st.sampled_from([RECEIVED, STARTED, SUCCESS, FAILURE, "RETRY"]),
        Results=results,
        Error=texts,
    )
)
def test_a_merged_state_is_the_document_with_two_gaps(state: TaskState) -> None:
    """The script puts the stored name and time into the gaps; with the zero values it is Go's own document."""
    key, head, word, middle = pack_state(state)
    assert (key, word) == (state.TaskUUID, state.State)
    assert head + b'""' + middle + f'"{ZERO_TIME}","TTL":0}}'.encode() == encode_state(state)


@given(
    st.builds(
        TaskState,
        TaskUUID=uuids,
        TaskName=texts,
        State=st.just(PENDING),
        Results=results,
        CreatedAt=st.sampled_from(
            [ZERO_TIME, "2024-02-03T04:05:06.78Z", "2024-02-03T04:05:06.780Z", "<no time>"]
        ),
        TTL=st.sampled_from([0, 9]),
    )
)
def test_pending_is_stored_as_go_writes_it(state: TaskState) -> None:
    try:
        body = encode_state(state)
    except LocalProtocolError:
        with pytest.raises(LocalProtocolError):
            pack_state(state)
        return
    assert pack_state(state) == (state.TaskUUID, body)


def test_only_pending_brings_its_own_name() -> None:
    with pytest.raises(LocalProtocolError, match="task t: only a PENDING state"):
        pack_state(TaskState(TaskUUID="t", TaskName="add", State=SUCCESS))


@pytest.mark.parametrize("own", [{"CreatedAt": "2024-05-06T07:08:09Z"}, {"TTL": 5}])
def test_only_pending_brings_its_own_time_and_lifetime(own: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError, match="task t: only a PENDING state"):
        pack_state(TaskState(TaskUUID="t", State=STARTED, **own))


def test_states_and_triggers_travel_only_to_the_server_that_keeps_them() -> None:
    state = TaskState(TaskUUID="t", State=SUCCESS, Results=())
    callback = TaskState(TaskUUID="callback", State=PENDING)
    trigger = Trigger("group", "t", (callback,), (Publish("q", b"callback"),))
    commit = Commit(states=(state,), publishes=(Publish("q", b"next"),), trigger=trigger)
    atomic, apart = sent(commit), sent(commit, atomic=False)
    assert [each[0] for each in atomic.states] == [b"t"]
    group, taker, by, states, publishes = atomic.trigger
    assert (group, by, publishes) == (b"group", b"t", [[b"q", b"callback", b""]])
    assert taker == b"gearmesh:taker:{group}"
    assert states == [[b"callback", encode_state(callback)]]
    assert (apart.states, apart.trigger) == ([], None)
    assert apart.publishes == atomic.publishes == [[b"q", b"next", b""]]


# -- calls


def publishes(sizes: list[int]) -> list[Commit]:
    return [Commit(publishes=(Publish("q", str(n).encode() + b" " * size),)) for n, size in enumerate(sizes)]


@law
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 100, 3_000, 5_000, 300_000, 600_000, 1_500_000]), st.sampled_from([1, 1, 2, 200])
        ).map(lambda each: [each[0]] * (each[1] if each[0] <= 5_000 else 1)),
        max_size=8,
    )
)  # fmt: skip
def test_every_commit_is_in_one_call_and_no_call_is_too_large(lots: list[list[int]]) -> None:
    commits = publishes([size for lot in lots for size in lot])
    client: Any = Recorder()
    assert script().commit(client, commits, atomic=False) == ["done"] * len(commits)
    assert bodies(client.entries) == [commit.publishes[0].body for commit in commits]
    for call in client.calls:
        assert 1 <= len(call.entries) <= ENTRIES
        assert len(call.entries) == 1 or call.size <= BYTES
    for one, next_one in itertools.pairwise(client.calls):
        first = len(next_one.entries[0].publishes[0][1]) + 200
        assert len(one.entries) == ENTRIES or one.size + first + 128 * len(one.entries) > BYTES, (
            "room was left"
        )


def test_the_messages_of_a_trigger_count_too() -> None:
    large = (Publish("q", b" " * 700_000),)
    commits = [Commit(trigger=Trigger(f"group{n}", "t", (), large)) for n in range(2)]
    client: Any = Recorder()
    script().commit(client, commits, atomic=True)
    assert [len(call.entries) for call in client.calls] == [1, 1]


def test_the_states_of_a_trigger_count_too() -> None:
    client: Any = Recorder()
    results = (wire.TaskResult(Type="string", Value="x" * (BYTES // 2)),)
    states = (TaskState(TaskUUID="t", State=SUCCESS, Results=results),)
    commits = [
        Commit(settle=Settle(delivery(id)), trigger=Trigger("g", "by", states=states)) for id in range(2)
    ]
    script().commit(client, commits, atomic=True)
    assert [len(call.entries) for call in client.calls] == [1, 1]


def test_an_empty_batch_calls_no_script() -> None:
    client: Any = Recorder()
    assert script().commit(client, [], atomic=True) == []
    assert not client.calls


def test_a_call_is_routed_by_the_first_queue_in_it() -> None:
    def route(*commits: Commit) -> str:
        client: Any = Recorder()
        script().commit(client, commits, atomic=True)
        return str(client.calls[0].route)

    state = Commit(states=(TaskState(TaskUUID="t", State=STARTED),))
    away = Commit(settle=Settle(delivery(queue="held")), publishes=(Publish("sent", b""),))
    assert route(state, away) == "held"
    assert route(Commit(publishes=(Publish("sent", b""),)), away) == "sent"
    assert route(state)


def test_a_call_says_once_how_long_states_live_and_where_delayed_messages_wait() -> None:
    client: Any = Recorder()
    script(delayed="later", announce="channel").commit(client, [again()], atomic=False)
    (call,) = client.calls
    assert (call.expire, call.delayed, call.announce, call.more) == (60, b"later", b"channel", ())


def test_replicas_are_waited_for_once_behind_all_calls() -> None:
    seen: list[Any] = []

    class Waiting:
        def wait(self, client: Any, key: str) -> None:
            seen.append((len(client.calls), key))

    client: Any = Recorder()
    script(replicas=Waiting()).commit(client, publishes([0] * 300), atomic=False)
    assert seen == [(2, "q")]


# -- tokens


def test_a_batch_of_several_calls_is_repeated_call_by_call() -> None:
    client: Any = Recorder()
    script().commit(client, publishes([0] * 600), token=Token("producer", 3), atomic=False)
    assert {call.token for call in client.calls} == {b"gearmesh:{q}:sent:producer"}
    places = [call.place for call in client.calls]
    assert len(set(places)) == 3
    again: Any = Recorder()
    script().commit(again, publishes([0] * 600), token=Token("producer", 3), atomic=False)
    assert [call.place for call in again.calls] == places, "a repetition says the same"


def test_without_a_token_nothing_is_remembered() -> None:
    client: Any = Recorder()
    script().commit(client, publishes([0]), atomic=False)
    assert (client.calls[0].token, client.calls[0].place) == (b"", b"")


@law
@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_the_places_of_calls_sort_as_they_were_made(one: int, other: int) -> None:
    """The script compares them as text."""

    def places(seq: int) -> list[bytes]:
        client: Any = Recorder()
        script().commit(client, publishes([0] * 257), token=Token("p", seq), atomic=False)
        return [call.place for call in client.calls]

    earlier, later = sorted((one, other))
    assert places(earlier) == sorted(places(earlier))
    assert earlier == later or places(earlier)[-1] < places(later)[0]


def test_a_batch_that_was_done_before_is_done() -> None:
    client: Any = Recorder("dup")
    assert script().commit(client, publishes([0, 0]), token=Token("p", 1), atomic=False) == ["done", "done"]
    assert len(client.calls) == 1


# -- heads


@law
@given(st.lists(st.sampled_from(["head", "ack", "tail"]), max_size=600), st.randoms(use_true_random=False))
def test_put_back_messages_stand_at_the_head_in_their_order(hows: list[Any], random: Any) -> None:
    """This holds for any order of the commits and any number of calls."""
    commits = [settle(how, id) for id, how in enumerate(hows, 1)]
    random.shuffle(commits)
    client: Any = Recorder()
    script().commit(client, commits, atomic=False)
    queue: list[int] = []
    for entry in client.entries:
        if entry.how == 2:
            queue.insert(0, int(entry.id))
    assert queue == [id for id, how in enumerate(hows, 1) if how == "head"]
    others = [int(entry.id) for entry in client.entries if entry.how != 2]
    assert others == [
        each.settle.delivery.id for each in commits if each.settle and each.settle.how != "head"
    ]
    if queue and others:
        hows_sent = [entry.how == 2 for entry in client.entries]
        assert hows_sent == sorted(hows_sent), "heads go last"


def test_outcomes_are_in_the_order_of_the_commits_though_heads_go_last() -> None:
    client: Any = Recorder("10x")
    commits = [settle("head", 1), settle("ack", 2), settle("park", 3)]
    assert script().commit(client, commits, atomic=False) == ["expired", "done", "lost"]
    assert [entry.id for entry in client.entries] == [b"2", b"3", b"1"]


# -- answers


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("1", "done"),
        ("t", "done"),
        ("g", "done"),
        ("0", "lost"),
        ("c", "complete"),
        ("b", "retry_all"),
        ("x", "expired"),
    ],
)
def test_each_code_has_its_outcome(code: str, outcome: Outcome) -> None:
    client: Any = Recorder(f"1{code}1")
    commits = [again(id) for id in range(3)]
    assert script().commit(client, commits, atomic=True) == ["done", outcome, "done"]


def test_a_commit_that_can_never_happen_makes_its_delivery_a_dead_letter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client: Any = Recorder(Answer("1e1e", problems=["WRONGTYPE a", "WRONGTYPE b"]), "1", "0")
    commits = [again(id) for id in range(4)]
    assert script().commit(client, commits, atomic=True) == ["done", "done", "done", "lost"]
    first, second = (call.entries for call in client.calls[1:])
    assert [(entry.id, entry.how, entry.settling[-1]) for entry in (*first, *second)] == [
        (b"1", 5, b"commit failed: WRONGTYPE a"),
        (b"3", 5, b"commit failed: WRONGTYPE b"),
    ]
    assert "a delivery from q cannot be committed: WRONGTYPE a" in caplog.text


def test_a_kept_delivery_stays_kept_though_its_commit_can_never_happen() -> None:
    client: Any = Recorder(Answer("e", problems=["WRONGTYPE a"]))
    assert script().commit(client, [settle("keep")], atomic=True) == ["done"]
    assert len(client.calls) == 1


ODD = b'{ "taskuuid": "t", "State": "SUCCESS" }'


def test_a_document_in_another_form_is_rewritten_and_its_entries_are_repeated() -> None:
    client: Any = Recorder(Answer("1s1o", odd=[("t", "state"), ("g", "group")]), "0c")
    client.documents = {"t": ODD, "g": b'{"groupuuid":"g"}'}
    commits = [again(id) for id in range(4)]
    outcomes = script().commit(client, commits, token=Token("p", 1), atomic=True)
    assert outcomes == ["done", "lost", "done", "complete"]
    assert client.documents["t"] == encode_state(TaskState(TaskUUID="t", State=SUCCESS))
    assert client.documents["g"] == encode_group(GroupMeta(GroupUUID="g"))
    first, second = client.calls
    assert [entry.id for entry in second.entries] == [b"1", b"3"]
    assert first.token, "the first call is this batch's"
    assert not second.token, "the rest of it is not the batch that was remembered"
    assert second.more == (None, None, None, False)


@pytest.mark.parametrize("stored", [b"no JSON", encode_state(TaskState(TaskUUID="t", State=SUCCESS))])
def test_a_document_that_no_rewriting_helps_is_taken_as_it_is(stored: bytes) -> None:
    """Else the script would refuse it again, and again."""
    client: Any = Recorder(Answer("s", odd=[("t", "state")]))
    client.documents = {"t": stored}
    assert script().commit(client, [again()], atomic=True) == ["done"]
    assert client.calls[1].more == (None, None, None, True)
    assert client.documents["t"] == stored


def test_a_document_that_has_expired_meanwhile_needs_no_rewriting() -> None:
    client: Any = Recorder(Answer("s", odd=[("t", "state")]))
    assert script().commit(client, [again()], atomic=True) == ["done"]
    assert client.calls[1].more == (None, None, None, False)


def test_reasons_stay_with_their_entries_when_some_are_repeated() -> None:
    client: Any = Recorder(
        Answer("se1s", problems=["second"], odd=[("t", "state")]), Answer("1e", problems=["fourth"])
    )
    client.documents = {"t": ODD}
    script().commit(client, [again(id) for id in range(1, 5)], atomic=True)
    dead = [(entry.id, entry.settling[-1]) for entry in client.entries if entry.how == 5]
    assert dead == [(b"2", b"commit failed: second"), (b"4", b"commit failed: fourth")]


# -- short scripts


def test_deliveries_that_succeeded_and_others_of_one_flush_go_to_their_scripts() -> None:
    """The others go first: they may show that a task runs which then ends."""
    success = [
        Commit(states=(TaskState(TaskUUID=f"t{n}", State=SUCCESS, Results=()),), settle=Settle(delivery(n)))
        for n in range(20)
    ]
    client: Any = Recorder("0x", "1" * 19 + "0")
    outcomes = script().commit(client, [again(50), *success, settle("park", 51)], atomic=True)
    assert outcomes == ["lost", *["done"] * 19, "lost", "expired"]
    others, plain = client.calls
    assert [entry.id for entry in others.entries] == [b"50", b"51"]
    assert [entry.id for entry in plain.entries] == [str(n).encode() for n in range(20)]
    assert plain.entries[3].states == [[b"t3", b"", b"SUCCESS", b"[]"]]


def test_a_few_deliveries_that_succeeded_go_along_with_others() -> None:
    client: Any = Recorder()
    script().commit(client, [again(1), settle(id=2), again(3)], atomic=True)
    (call,) = client.calls
    assert [entry.id for entry in call.entries] == [b"1", b"2", b"3"]


def test_each_queue_has_a_call_of_its_own_if_it_has_many_deliveries() -> None:
    client: Any = Recorder()
    commits = [Commit(settle=Settle(delivery(n, queue="ab"[n % 2 if n < 40 else 0]))) for n in range(60)] + [
        Commit(settle=Settle(delivery(60, queue="c")))
    ]
    assert script().commit(client, commits, atomic=False) == ["done"] * 61
    assert [(call.route, len(call.entries)) for call in client.calls] == [
        ("c", 1), (QueueKeys("a").held("c"), 40), (QueueKeys("b").held("c"), 20),
    ]  # fmt: skip


def test_a_state_that_the_short_script_cannot_replace_goes_to_the_commit_script() -> None:
    client: Any = Recorder("1?1?", "c0")
    states = [(TaskState(TaskUUID=f"t{n}", State=SUCCESS, Results=()),) for n in range(4)]
    commits = [Commit(states=states[n], settle=Settle(delivery(n))) for n in range(4)]
    assert script().commit(client, commits, atomic=True) == ["done", "complete", "done", "lost"]
    assert [entry.id for entry in client.calls[1].entries] == [b"1", b"3"]
    assert [entry.states[0][0] for entry in client.calls[1].entries] == [b"t1", b"t3"]


@given(st.lists(st.tuples(uuids, texts, st.sampled_from(["2024-02-03T04:05:06.78Z", ZERO_TIME])), max_size=5))
def test_calls_of_tasks_bring_the_documents_that_go_writes(tasks: list[tuple[str, str, str]]) -> None:
    """The texts that they have in common are sent once."""
    states = [
        TaskState(TaskUUID=uuid, TaskName=name, CreatedAt=created, State=PENDING)
        for uuid, name, created in tasks
    ]
    client: Any = Recorder()
    commits = [Commit(states=(state,), publishes=(Publish("q", b"{}"),)) for state in states]
    script().commit(client, commits, atomic=True)
    stored = [entry.states[0] for entry in client.entries]
    assert stored == [[state.TaskUUID.encode(), encode_state(state)] for state in states]


# -- groups


def member(group: str, count: int, id: int = 7) -> Commit:
    return Commit(settle=Settle(delivery(id)), chord=ChordCheck(group, count))


class Metas:
    """A store of groups that counts how often each is loaded."""

    def __init__(self, **sizes: int) -> None:
        self.metas = {
            uuid: GroupMeta(GroupUUID=uuid, TaskUUIDs=tuple(f"{uuid}{n}" for n in range(size)))
            for uuid, size in sizes.items()
        }
        self.loaded: list[str] = []
        self.groups = GroupCache(self.load, lambda keys: None, 60)

    def load(self, uuid: str) -> GroupMeta | None:
        self.loaded.append(uuid)
        return self.metas.get(uuid)


def test_a_chords_member_names_its_group_and_brings_the_next_member() -> None:
    metas = Metas(a=100, b=3)
    client: Any = Recorder()
    commits = [member("a", 100), settle(), member("b", 3), member("a", 100)]
    script(groups=metas.groups).commit(client, commits, atomic=True)
    (call,) = client.calls
    assert [entry.group for entry in call.entries] == [1, 0, 2, 1]
    (progress, size, first, window), (_, _, _, all_of_b) = call.groups
    assert (progress, size, first) == (b"gearmesh:progress:a", 100, 0)
    assert window == [b"a%d" % n for n in range(4 + 16)], "as many as can become final now, and some"
    assert all_of_b == [b"b0", b"b1", b"b2"]


def test_the_window_goes_on_behind_the_members_known_to_be_final() -> None:
    metas = Metas(a=100)
    client: Any = Recorder(Answer("1", known=[40]), Answer("1", known=[30]))
    one = script(groups=metas.groups)
    for _ in range(3):
        one.commit(client, [member("a", 100)], atomic=True)
    assert [call.groups[0][2] for call in client.calls] == [0, 40, 40], "the window never goes back"
    assert client.calls[1].groups[0][3][0] == b"a40"
    assert metas.loaded == ["a"], "the group's members are read once"


def test_the_last_of_many_members_asks_for_all_of_them_once_they_are_settled() -> None:
    metas = Metas(a=1000, b=1000)
    client: Any = Recorder("1" * 38, Answer("1c", known=[20, 1000]))
    commits = [member("ab"[n % 2], 1000, n) for n in range(40)]
    outcomes = script(groups=metas.groups).commit(client, commits, atomic=True)
    assert outcomes == ["done"] * 39 + ["complete"]
    plain, asking = client.calls
    assert [entry.id for entry in plain.entries] == [b"%d" % n for n in range(38)]
    assert [(entry.id, entry.group) for entry in asking.entries] == [(b"38", 1), (b"39", 2)]
    assert {len(window) for _, _, _, window in asking.groups} == {40 + 2 + 16}, (
        "as many as have ended, and some"
    )


def test_a_member_that_the_short_script_cannot_settle_asks_before_the_last_one() -> None:
    metas = Metas(a=1000)
    client: Any = Recorder("1", "1?" + "1" * 17)
    commits = [again(50), *(member("a", 1000, n) for n in range(20))]
    script(groups=metas.groups).commit(client, commits, atomic=True)
    assert [[entry.id for entry in call.entries] for call in client.calls[::2]] == [[b"50"], [b"1", b"19"]]


def test_a_finished_group_is_forgotten() -> None:
    metas = Metas(a=2)
    client: Any = Recorder(Answer("c", known=[2]))
    one = script(groups=metas.groups)
    assert one.commit(client, [member("a", 2)], atomic=True) == ["complete"]
    one.commit(client, [member("a", 2)], atomic=True)
    assert metas.loaded == ["a", "a"]


def test_an_entry_that_needs_more_members_is_repeated_with_them() -> None:
    metas = Metas(a=1000)
    client: Any = Recorder(Answer("1m1", known=[19]), Answer("m", known=[36]), Answer("c", known=[1000]))
    commits = [settle(id=1), member("a", 1000, 2), settle(id=3)]
    outcomes = script(groups=metas.groups).commit(client, commits, token=Token("p", 1), atomic=True)
    assert outcomes == ["done", "complete", "done"]
    assert [[entry.id for entry in call.entries] for call in client.calls[1:]] == [[b"2"], [b"2"]]
    assert [call.groups[0][3][0] for call in client.calls] == [b"a0", b"a19", b"a36"]
    assert not client.calls[1].token, "the token's batch was remembered by the first call"


def test_a_group_that_goes_away_between_two_calls_leaves_no_mark_of_another() -> None:
    """Its member's entry must not point to the group that now stands in the first place."""
    metas = Metas(a=1000, b=1000)
    found = iter([metas.load("a"), metas.load("b"), None, metas.load("b")])
    groups = GroupCache(lambda uuid: next(found), lambda keys: None, 60, max_groups=0)
    client: Any = Recorder("mm")
    script(groups=groups).commit(client, [member("a", 1000, 1), member("b", 1000, 2)], atomic=True)
    assert [entry.group for entry in client.calls[1].entries] == [0, 1]


@pytest.mark.parametrize(
    ("count", "said"),
    [(2, "the chord of group a cannot fire: its GroupMeta has 3 members, the signature says 2"), (3, "")],
)
def test_a_group_of_another_size_never_fires(count: int, said: str, caplog: pytest.LogCaptureFixture) -> None:
    client: Any = Recorder()
    script(groups=Metas(a=3).groups).commit(client, [member("a", count)], atomic=True)
    assert [entry.group for entry in client.entries] == [0 if said else 1]
    assert caplog.messages == ([said] if said else [])


def test_a_group_that_is_gone_or_unreadable_settles_its_members_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def load(uuid: str) -> GroupMeta | None:
        if uuid == "broken":
            raise BackendError("no GroupMeta at broken")
        return None

    client: Any = Recorder()
    groups = GroupCache(load, lambda keys: None, 60)
    commits = [member("gone", 2), member("broken", 2)]
    assert script(groups=groups).commit(client, commits, atomic=True) == ["done", "done"]
    assert [entry.group for entry in client.entries] == [0, 0]
    assert caplog.messages == [
        "the chord of group gone cannot fire: its GroupMeta is gone",
        "the chord of group broken cannot fire: no GroupMeta at broken",
    ]


def test_no_group_is_looked_up_where_states_are_elsewhere() -> None:
    metas = Metas(a=2)
    client: Any = Recorder()
    script(groups=metas.groups).commit(client, [member("a", 2)], atomic=False)
    assert (client.calls[0].groups, metas.loaded) == ([], [])


def test_a_trigger_survives_the_mark_of_a_group() -> None:
    commit = msgspec.structs.replace(member("a", 2), trigger=Trigger("other", "t"))
    client: Any = Recorder()
    script(groups=Metas(a=2).groups).commit(client, [commit], atomic=True)
    (entry,) = client.entries
    assert (entry.group, entry.trigger[0]) == (1, b"other")
