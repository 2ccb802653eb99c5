"""The signatures that follow a task, compared with recordings of Go."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gearmesh.errors import LocalProtocolError
from gearmesh.wire import gotime
from gearmesh.wire.codec import decode, decode_group, decode_state, encode
from gearmesh.wire.signature import Arg, Signature
from gearmesh.wire.state import TaskResult, TaskState
from gearmesh.wire.types import arg, load_args, result
from gearmesh.wire.workflow import (
    after_failure,
    after_success,
    chord_callback,
    make_chain,
    make_chord,
    make_group,
    prepare,
    retried,
    retried_later,
)

REDIS = Path(__file__).parents[2] / "golden" / "redis"


def recorded(scenario: str) -> dict[str, Any]:
    text = (REDIS / f"{scenario}.json").read_text(encoding="utf-8")
    loaded = json.loads(text)
    assert isinstance(loaded, dict)
    return loaded


def sent(scenario: str) -> list[bytes]:
    """The signatures that Go pushed or delayed, in order."""
    commands = [c for c in recorded(scenario)["redis_commands"] if c.startswith(("RPUSH ", "ZADD "))]
    return [c[c.index("{") : c.rindex("}") + 1].encode() for c in commands]


def states(scenario: str, state: str) -> dict[str, TaskState]:
    found = [
        decode_state(c[c.index("{") : c.rindex("}") + 1].encode())
        for c in recorded(scenario)["redis_commands"]
        if c.startswith("SET ") and f'"State":"{state}"' in c
    ]
    return {one.TaskUUID: one for one in found}


def called(spec: dict[str, Any]) -> Signature:
    """A signature as the recording's caller made it."""
    args = [Arg(a["Name"], a["Type"], msgspec.Raw(msgspec.json.encode(a["Value"]))) for a in spec["Args"]]
    return Signature(Name=spec["Name"], Args=tuple(args))


def ids(*uuids: str) -> Callable[[], str]:
    """Hands out recorded ids, without their prefix."""
    waiting = [uuid.partition("_")[2] for uuid in uuids]
    return lambda: waiting.pop(0)


def no_ids() -> str:
    raise AssertionError("an id was asked for")


def test_a_chain_sends_the_same_messages_as_go() -> None:
    bodies = sent("chain")
    sigs = [called(spec) for spec in recorded("chain")["commands"][0]["Sigs"]]
    uuids = [decode(body).UUID for body in bodies]
    chain = make_chain(sigs, ids(*reversed(uuids)))
    step = prepare(chain, queue="machinery_tasks", new_id=no_ids)
    done = states("chain", "SUCCESS")
    for body in bodies:
        assert encode(step) == body
        following = after_success(decode(body), done[step.UUID].Results or ())
        if body is not bodies[-1]:
            (step,) = (prepare(one, queue="machinery_tasks", new_id=no_ids) for one in following)
    assert following == ()


def test_a_group_sends_the_same_messages_as_go() -> None:
    bodies = {decode(body).UUID: body for body in sent("group")}
    key, meta = next((k, v) for k, v in recorded("group")["keys_after"].items() if k.startswith("group_"))
    uuids = decode_group(meta["value"].encode()).TaskUUIDs
    sigs = [called(spec) for spec in recorded("group")["commands"][0]["Sigs"]]
    members = make_group(sigs, key, ids(*uuids))
    assert tuple(member.UUID for member in members) == uuids
    for member in members:
        assert encode(prepare(member, queue="machinery_tasks", new_id=no_ids)) == bodies[member.UUID]


@pytest.mark.parametrize("scenario", ["chord", "chord_immutable_callback"])
def test_a_chord_sends_the_same_messages_as_go(scenario: str) -> None:
    *members, last = sent(scenario)
    bodies = {decode(body).UUID: body for body in members}
    command = recorded(scenario)["commands"][0]
    key, meta = next((k, v) for k, v in recorded(scenario)["keys_after"].items() if k.startswith("group_"))
    uuids = decode_group(meta["value"].encode()).TaskUUIDs
    callback = called(command["Callback"]).evolve(Immutable=command["Callback"].get("Immutable", False))
    new_id = ids(*uuids, decode(last).UUID)
    made = make_chord([called(spec) for spec in command["Sigs"]], callback, key, new_id)
    for member in made:
        assert encode(prepare(member, queue="machinery_tasks", new_id=no_ids)) == bodies[member.UUID]
    done = states(scenario, "SUCCESS")
    carried = decode(next(iter(bodies.values()))).ChordCallback
    assert carried is not None
    ready = chord_callback(carried, [done[uuid] for uuid in uuids])
    assert ready is not None
    assert encode(prepare(ready, queue="machinery_tasks", new_id=no_ids)) == last


def test_a_chord_with_a_failed_member_is_never_sent() -> None:
    callback = Signature(Name="total")
    good = TaskState(State="SUCCESS", Results=(result("int64", 1),))
    assert chord_callback(callback, [good, TaskState(State="FAILURE")]) is None
    assert chord_callback(callback, [good, None]) is None
    assert chord_callback(callback, [good, TaskState(State="STARTED")]) is None


def test_a_chord_passes_all_results_in_order() -> None:
    several = TaskState(State="SUCCESS", Results=(result("int64", 1), result("string", "x")))
    none = TaskState(State="SUCCESS", Results=())
    callback = Signature(Args=(arg("int64", 0),))
    ready = chord_callback(callback, [several, none, several])
    assert ready is not None
    assert load_args(ready) == [0, 1, "x", 1, "x"]
    assert chord_callback(callback.evolve(Immutable=True), [several]) == callback.evolve(Immutable=True)


def test_a_retry_sends_the_same_messages_as_go() -> None:
    tries = [decode(body) for body in sent("task_retry")]
    # Go's delayed poller pushes a due retry as it was: the same signature twice.
    distinct = [sig for sig, _ in itertools.groupby(tries)]
    assert len(distinct) > 1
    for before, after in itertools.pairwise(distinct):
        assert after.ETA is not None
        now = gotime.parse(after.ETA) - after.RetryTimeout * 10**9
        assert retried(before, now) == after


def test_retries_count_down_and_slow_down() -> None:
    sig = Signature(UUID="task_1", RetryCount=3)
    waits = []
    for _ in range(3):
        sig = retried(sig, 0)
        waits.append((sig.RetryCount, sig.RetryTimeout, sig.ETA))
    assert waits == [
        (2, 1, "1970-01-01T00:00:01Z"),
        (1, 2, "1970-01-01T00:00:02Z"),
        (0, 3, "1970-01-01T00:00:03Z"),
    ]


def test_a_later_retry_keeps_its_count() -> None:
    sig = Signature(RetryCount=2, RetryTimeout=5)
    assert retried_later(sig, 10**9, 1_500_000_001) == sig.evolve(ETA="1970-01-01T00:00:02.500000001Z")


def test_results_are_appended_unless_the_parent_is_immutable() -> None:
    child = Signature(Name="next", Args=(arg("int64", 1),), Immutable=True)
    bare = Signature(Name="bare")
    parent = Signature(OnSuccess=(child, None, bare))
    results = (TaskResult("int64", msgspec.Raw(b"2")), TaskResult("[]uint8", msgspec.Raw(b'"aGk="')))
    first, second = after_success(parent, results)
    assert load_args(first) == [1, 2, b"hi"]
    assert first.Args is not None
    assert [one.Name for one in first.Args] == ["", "", ""]
    assert load_args(second) == [2, b"hi"]
    assert after_success(parent.evolve(Immutable=True), results) == (child, bare)
    assert after_success(parent, ()) == (child, bare)
    assert after_success(Signature(), results) == ()
    assert after_success(Signature(OnSuccess=()), results) == ()


def test_an_error_s_text_comes_first() -> None:
    handler = Signature(Name="handle", Args=(arg("int64", 1),))
    parent = Signature(OnError=(handler, None, Signature(Name="bare")), Immutable=True)
    first, second = after_failure(parent, "a <b> \udcff")
    text = Arg("", "string", msgspec.Raw('"a \\u003cb\\u003e \ufffd"'.encode()))
    assert first.Args == (text, *(handler.Args or ()))
    assert load_args(second) == ["a <b> \ufffd"]
    assert after_failure(Signature(), "x") == ()


def test_a_failure_sends_the_same_messages_as_go() -> None:
    bodies = [decode(body) for body in sent("task_failure")]
    (failed,) = (one for one in states("task_failure", "FAILURE").values() if one.TaskUUID == bodies[0].UUID)
    following = after_failure(bodies[0], failed.Error)
    new_id = ids(bodies[1].UUID)
    assert [prepare(one, queue="machinery_tasks", new_id=new_id) for one in following] == bodies[1:]


def test_prepare_fills_only_empty_fields() -> None:
    filled = prepare(Signature(Name="add"), queue="q", new_id=lambda: "1")
    assert filled == Signature(Name="add", UUID="task_1", RoutingKey="q", Headers={})
    assert prepare(filled, queue="other", new_id=no_ids) is filled


def test_empty_workflows_are_refused() -> None:
    for make in (
        lambda: make_chain([], no_ids),
        lambda: make_group([], "group_1", no_ids),
        lambda: make_chord([], Signature(), "group_1", no_ids),
    ):
        with pytest.raises(LocalProtocolError, match="at least one"):
            make()
