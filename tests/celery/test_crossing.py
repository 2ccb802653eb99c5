"""A Celery app among Machinery's programs: calls, failures and workflows in both directions, for each peer."""

from __future__ import annotations

import time
from typing import Any

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError, TimeoutError
from celery.result import AsyncResult

from gearmesh.celery import NotForGo
from gearmesh.errors import TaskFailed
from gearmesh.testing.waiting import eventually

from .conftest import Place
from .project import GO_QUEUE

WAIT = 60.0


def arg(kind: str, value: Any) -> dict[str, Any]:
    return {"Name": "", "Type": kind, "Value": value}


def i64(value: int) -> dict[str, Any]:
    return arg("int64", value)


def sig(name: str, *args: Any, queue: str = "celery", **fields: Any) -> dict[str, Any]:
    return {"Name": name, "RoutingKey": queue, "Args": list(args), **fields}


def go(name: str, *args: Any, **fields: Any) -> dict[str, Any]:
    return sig(name, *args, queue=GO_QUEUE, **fields)


def noted(place: Place, key: str) -> list[str]:
    with place.redis() as client:
        return [each.decode() for each in client.lrange(key, 0, -1)]


# -- calls


@pytest.mark.backends(rabbitmq=True)
def test_celery_calls_go(place: Place) -> None:
    assert place.task("multiply", 3, 4).delay().get(timeout=WAIT) == 12
    assert place.task("concat", ["a", "b"]).delay().get(timeout=WAIT) == "ab"
    assert place.task("echo_bytes", b"\x00\xff").delay().get(timeout=WAIT) == b"\x00\xff"
    assert place.task("two", 3, "x").delay().get(timeout=WAIT) == [3, "x"]
    assert place.task("noop").delay().get(timeout=WAIT) is None


def test_a_manifest_gives_go_s_types(place: Place) -> None:
    assert place.task("echo_uint8", 200).delay().get(timeout=WAIT) == 200
    assert place.task("echo_float32", 1).delay().get(timeout=WAIT) == 1.0
    with pytest.raises(NotForGo, match="300 is not uint8: out of range"):
        place.task("echo_uint8", 300).delay()


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        (({"a": 1},), {}, "dict"),
        ((None,), {}, "NoneType"),
        (([1, "a"],), {}, r"list.*go_tasks \(Json\[…\]"),
        ((1,), {"y": 2}, "keyword arguments"),
    ],
)
def test_send_task_refuses_arguments_that_go_cannot_take(
    place: Place, args: Any, kwargs: Any, said: str
) -> None:
    with pytest.raises(NotForGo, match=said):
        place.app.send_task("multiply", args, kwargs)


def test_go_has_no_expiry(place: Place) -> None:
    with pytest.raises(NotForGo, match="expires"):
        place.app.send_task("multiply", (1, 2), expires=10)
    with pytest.raises(NotForGo, match="time limit"):
        place.app.send_task("multiply", (1, 2), time_limit=10)


@pytest.mark.backends(rabbitmq=True)
def test_celery_calls_celery(place: Place) -> None:
    odd = {"none": None, "mixed": [1, "a", {"deep": [None]}], "bytes": b"\xff", "big": 2**70}
    assert place.task("echo", odd, None, kwargs={"k": odd}).delay().get(timeout=WAIT) == [
        [odd, None],
        {"k": odd},
    ]
    assert place.task("none").delay().get(timeout=WAIT) is None


@pytest.mark.backends(rabbitmq=True)
def test_go_calls_celery(place: Place) -> None:
    answer = place.ask(Op="call", Sig=sig("add", i64(1), i64(2)), TimeoutMs=60_000)
    assert (answer["Results"], answer["Types"]) == ([3], ["int64"])
    both = place.ask(Op="call", Sig=sig("same", arg("[]byte", "AP8=")), TimeoutMs=60_000)
    assert both["Types"] == ["[]uint8"]


@pytest.mark.parametrize(
    ("name", "results", "types"),
    [
        ("half", [3], ["int32"]),
        ("pair", [7, "7"], ["int64", "string"]),
        ("document", ['{"number":7}'], ["string"]),
        ("echo", ["[[7], {}]"], ["string"]),
    ],
)
def test_annotations_choose_go_s_results(place: Place, name: str, results: Any, types: Any) -> None:
    answer = place.ask(Op="call", Sig=sig(name, i64(7)), TimeoutMs=60_000)
    assert (answer["Results"], answer["Types"]) == (results, types)


def test_nothing_is_nothing(place: Place) -> None:
    assert place.ask(Op="call", Sig=sig("none"), TimeoutMs=60_000)["Results"] == []


# -- failures, retries, states


@pytest.mark.backends(rabbitmq=True)
def test_failures_cross_as_text(place: Place) -> None:
    result = place.task("fail", "oh no").delay()
    with pytest.raises(TaskFailed, match="oh no"):
        result.get(timeout=WAIT)
    assert (result.status, result.failed(), result.info.error) == ("FAILURE", True, "oh no")
    answer = place.ask(Op="call", Sig=sig("broken", arg("string", "bad")), TimeoutMs=60_000)
    assert answer["Err"] == "ValueError: bad"
    assert place.ask(Op="call", Sig=sig("silent"), TimeoutMs=60_000)["Err"] == "KeyError"


def test_celery_s_own_failures_keep_their_type(place: Place) -> None:
    result = place.task("broken", "bad").delay()
    with pytest.raises(ValueError, match="bad"):
        result.get(timeout=WAIT)
    assert "ValueError" in result.traceback


def test_celery_retries_a_task_that_go_called(place: Place) -> None:
    answer = place.ask(Op="call", Sig=sig("flaky", i64(2)), TimeoutMs=60_000)
    assert answer["Results"] == [2]


def test_go_s_retry_count_counts_in_celery(place: Place, key: str) -> None:
    started = time.monotonic()
    answer = place.ask(
        Op="call",
        Sig=sig("broken", arg("string", "bad"), RetryCount=1, OnError=[_note(place, key)]),
        TimeoutMs=60_000,
    )
    assert answer["Err"] == "ValueError: bad"
    assert time.monotonic() - started > 0.9
    assert eventually(lambda: noted(place, key)) == ["('ValueError: bad',)"]


def _note(place: Place, key: str) -> dict[str, Any]:
    """Return a task that notes its last arguments; a failed task's error text comes before them."""
    return sig("note_last", arg("string", place.store), arg("string", key))


@pytest.mark.backends
def test_own_states_are_seen(place: Place) -> None:
    result = place.task("says", 0.5).delay()
    assert eventually(lambda: result.state == "PROGRESS" and result.info) == {"done": 3}
    assert place.ask(Op="state", UUID=result.id)["State"] == "STARTED"
    assert result.get(timeout=WAIT) == "said"
    assert place.ask(Op="state", UUID=result.id)["State"] == "SUCCESS"
    assert result.date_done is not None


@pytest.mark.backends
def test_forget(place: Place) -> None:
    result = place.task("add", 1, 2).delay()
    assert result.get(timeout=WAIT) == 3
    result.forget()
    assert AsyncResult(result.id, app=place.app).state == "PENDING"
    assert not place.kept(result.id)


@pytest.mark.backends
def test_ignored_results_are_not_kept(place: Place, key: str) -> None:
    result = place.task("count", place.store, key).apply_async(ignore_result=True)
    eventually(lambda: _counted(place, key) == 1)
    assert result.get(timeout=WAIT) is None
    assert not place.kept(result.id)


def _counted(place: Place, key: str) -> int:
    with place.redis() as client:
        return int(client.get(key) or 0)


@pytest.mark.backends
def test_revoked_is_failure_to_go(place: Place) -> None:
    result = place.task("nap", 0).apply_async(countdown=3.0)
    result.revoke()
    assert eventually(lambda: result.state in ("REVOKED", "SUCCESS"))
    assert result.state == "REVOKED"
    assert place.ask(Op="state", UUID=result.id)["State"] == "FAILURE"


def test_a_timeout(place: Place) -> None:
    with pytest.raises(TimeoutError):
        place.task("nap", 1.0).delay().get(timeout=0.2)


def test_headers_cross(place: Place) -> None:
    told = place.app.send_task("told", headers={"who": "me", "deep": {"a": [1]}}).get(timeout=WAIT)
    assert told["headers"] == {"who": "me", "deep": {"a": [1]}}
    answer = place.app.send_task("with_ctx", (1,), headers={"who": "me"}).get(timeout=WAIT)
    assert '"who":"me"' in answer.replace(" ", "")


# -- time


@pytest.mark.parametrize("name", ["add", "multiply"])
def test_countdown(place: Place, name: str) -> None:
    started = time.monotonic()
    result = place.task(name, 2, 3).apply_async(countdown=0.5)
    assert result.get(timeout=WAIT) in (5, 6)
    assert time.monotonic() - started > 0.45


def test_expired(place: Place) -> None:
    result = place.task("add", 1, 1).apply_async(countdown=0.6, expires=0.2)
    assert eventually(lambda: result.state == "REVOKED" and result.state)


@pytest.mark.backends(rabbitmq=True)
def test_an_expiry_crosses(place: Place) -> None:
    """gearmesh's header is Celery's expires, and Celery's expires is gearmesh's header."""
    past, future = "2020-01-01T00:00:00.123456789Z", "2100-01-01T00:00:00Z"
    late = place.ask(
        Op="call", Sig=sig("add", i64(1), i64(2), Headers={"gearmesh-expires": past}), TimeoutMs=60_000
    )
    assert "expired" in late["Err"]
    good = place.ask(
        Op="call", Sig=sig("add", i64(1), i64(2), Headers={"gearmesh-expires": future}), TimeoutMs=60_000
    )
    assert good["Results"] == [3]
    told = place.app.send_task("told", expires=1000, headers={"who": "me"}).get(timeout=WAIT)
    assert told["headers"] == {"who": "me"}, "the header is not one of the caller's own"


# -- workflows of Celery's


def celery_flows(place: Place) -> dict[str, tuple[Any, Any]]:
    t = place.task
    return {
        "chain, Go between": (chain(t("add", 1, 2), t("multiply", 5), t("add", 100)), 115),
        "chain, Celery between": (chain(t("multiply", 5, 6), t("add", 2), t("multiply", 10)), 320),
        "chain, Go twice": (chain(t("multiply", 5, 6), t("multiply", 2), t("add", 1)), 61),
        "immutable": (chain(t("multiply", 5, 6), t("add", 1, 2).set(immutable=True)), 3),
        "immutable in Go": (chain(t("add", 5, 6), t("multiply", 1, 2).set(immutable=True)), 2),
        "immutable, Go twice": (chain(t("multiply", 5, 6), t("multiply", 1, 2).set(immutable=True)), 2),
        "group": (group(t("add", 1, 2), t("multiply", 2, 2), t("multiply", 5, 5)), [3, 4, 25]),
        "chord": (chord([t("add", 1, 2), t("multiply", 2, 2)], t("total")), 7),
        "chord, all Go": (chord([t("multiply", 3, 2), t("multiply", 2, 2)], t("total")), 10),
        "chord, body in Go": (chord([t("add", 1, 2), t("multiply", 2, 2)], t("multiply")), 12),
        "chord, members of kinds": (
            chord([t("none"), t("pair", 1), t("two", 3, "x"), t("same", {"a": None})], t("same")),
            [None, [1, "1"], [3, "x"], {"a": None}],
        ),
        "chord of chains": (
            chord([t("add", 1, 2) | t("multiply", 2), t("multiply", 2, 2) | t("add", 1)], t("total")),
            11,
        ),
        "chord of chords": (
            chord([chord([t("multiply", i, i), t("add", 1, 1)], t("total")) for i in range(3)], t("total")),
            11,
        ),
        "chain into chord": (
            chain(t("multiply", 5, 6), chord([t("add", 1), t("multiply", 2)], t("total")), t("add", 1000)),
            1091,
        ),
        "Go, then a group": (chain(t("multiply", 5, 6), group(t("add", 1), t("multiply", 2))), [31, 60]),
        "Go, then a pause": (chain(t("multiply", 2, 3), t("add", 1).set(countdown=0.2)), 7),
        "replaced, then Go": (chain(t("replaced", 5), t("multiply", 2)), 2010),
        "replaced in a chord": (chord([t("replaced", 5), t("multiply", 2, 2)], t("total")), 1009),
        "replaced by a group": (chain(t("replaced_by_group", 5), t("total")), 13),
        "retry in a chain": (chain(t("flaky", 2), t("multiply", 10)), 20),
    }


FLOWS = (
    "chain, Go between", "chain, Celery between", "chain, Go twice", "immutable", "immutable in Go",
    "immutable, Go twice", "group", "chord", "chord, all Go", "chord, body in Go", "chord, members of kinds",
    "chord of chains", "chord of chords", "chain into chord", "Go, then a group", "Go, then a pause",
    "replaced, then Go", "replaced in a chord", "replaced by a group", "retry in a chain",
)  # fmt: skip


@pytest.mark.backends(rabbitmq=True)
@pytest.mark.parametrize("name", FLOWS)
def test_a_workflow_of_celery_s(place: Place, name: str) -> None:
    flow, expected = celery_flows(place)[name]
    assert flow.apply_async().get(timeout=WAIT) == expected


def test_every_flow_is_tested(place: Place) -> None:
    assert set(celery_flows(place)) == set(FLOWS)


def test_links(place: Place, key: str) -> None:
    t = place.task
    for first in (t("multiply", 2, 3), t("add", 2, 4)):
        first.link(t("note", place.store, key, immutable=True))
        first.link(t("multiply", 7))
        result = first.apply_async()
        assert result.get(timeout=WAIT) == 6
    eventually(lambda: len(noted(place, key)) == 2)


@pytest.mark.parametrize("name", ["fail", "broken"])
def test_errbacks(place: Place, key: str, name: str) -> None:
    t = place.task
    first = t(name, "oh")
    first.link_error(t("noted_failure", place.store, key))
    result = chain(first, t("add", 1), t("multiply", 2)).apply_async()
    with pytest.raises((TaskFailed, ValueError), match="oh"):
        result.get(timeout=WAIT)
    (line,) = eventually(lambda: noted(place, key))
    assert line.startswith(f"{result.parent.parent.id} ")
    assert line.endswith(": oh")
    eventually(lambda: result.state == "FAILURE")


@pytest.mark.parametrize(("name", "error"), [("fail", "oh"), ("broken", "ValueError: oh")])
def test_a_task_of_go_s_as_errback(place: Place, name: str, error: str) -> None:
    """The errback gets the error's text, as a task in Go's OnError does."""
    first, handler = place.task(name, "oh"), place.task("on_error", "own")
    handled = handler.freeze()
    first.link_error(handler)
    with pytest.raises((TaskFailed, ValueError), match="oh"):
        first.apply_async().get(timeout=WAIT)
    assert handled.get(timeout=WAIT) == f"handled:{error},own"


@pytest.mark.backends(rabbitmq=True)
@pytest.mark.parametrize(
    "header", [("broken", "multiply"), ("add", "fail"), ("fail", "fail"), ("broken", "broken")]
)
def test_a_member_fails(place: Place, key: str, header: tuple[str, str]) -> None:
    t = place.task
    args = {"broken": ("oh",), "fail": ("oh",)}
    members = [t(name, *args.get(name, (1, 2))) for name in header]
    body = t("total")
    body.link_error(t("noted_failure", place.store, key))
    result = chord(members, body).apply_async()
    eventually(lambda: result.state == "FAILURE")
    assert isinstance(result.result, ChordError)
    assert "oh" in str(result.result)
    eventually(lambda: noted(place, key))
    time.sleep(0.2)
    assert len(noted(place, key)) == 1


# -- workflows of Go's


@pytest.mark.backends(rabbitmq=True)
def test_chains_of_go_s(place: Place) -> None:
    first = [sig("add", i64(1), i64(2)), go("multiply", i64(10)), sig("add", i64(5))]
    assert place.ask(Op="chain", Sigs=first, TimeoutMs=60_000)["Results"] == [35]
    second = [go("multiply", i64(10), i64(2)), sig("add", i64(5)), go("multiply", i64(2))]
    assert place.ask(Op="chain", Sigs=second, TimeoutMs=60_000)["Results"] == [50]
    third = [sig("flaky", i64(1)), go("multiply", i64(10)), sig("replaced")]
    assert place.ask(Op="chain", Sigs=third, TimeoutMs=60_000)["Results"] == [1010]


def test_several_results_are_several_arguments(place: Place) -> None:
    steps = [sig("pair", i64(7)), go("two"), sig("echo", arg("string", "own"))]
    assert place.ask(Op="chain", Sigs=steps, TimeoutMs=60_000)["Results"] == ['[["own", 7, "7"], {}]']


def test_a_replaced_task_of_go_s_goes_on(place: Place) -> None:
    steps = [sig("replaced", i64(7)), go("multiply", i64(2))]
    assert place.ask(Op="chain", Sigs=steps, TimeoutMs=60_000)["Results"] == [2014]


@pytest.mark.backends
def test_groups_of_go_s(place: Place) -> None:
    members = [sig("add", i64(1), i64(2)), go("multiply", i64(10))]
    assert place.ask(Op="group", Sigs=members, TimeoutMs=60_000)["Results"] == [3, 10]


@pytest.mark.backends(rabbitmq=True)
@pytest.mark.parametrize(
    ("members", "callback", "results"),
    [
        ([sig("add", i64(1), i64(2)), go("multiply", i64(10))], sig("echo", i64(9)), ["[[9, 3, 10], {}]"]),
        ([sig("add", i64(1), i64(2)), sig("add", i64(3), i64(4))], go("multiply", i64(9)), [189]),
        ([sig("replaced", i64(1)), sig("flaky", i64(1))], go("multiply", i64(2)), [2002]),
        ([go("multiply", i64(2)), go("multiply", i64(3))], sig("add"), [5]),
    ],
    ids=["mixed", "Celery's, then Go", "replaced and retried", "Go's, then Celery"],
)
def test_chords_of_go_s(place: Place, members: Any, callback: Any, results: Any) -> None:
    answer = place.ask(Op="chord", Sigs=members, Callback=callback, TimeoutMs=60_000)
    if place.way.go and place.way.backend in ("mongodb", "amqp"):
        # Go: as MongoDB finds them, or as they ended; there is no other order.
        answer["Results"] = [
            each.replace("10, 3", "3, 10") if isinstance(each, str) else each for each in answer["Results"]
        ]
    assert answer["Results"] == results


def test_on_error_of_go_s(place: Place, key: str) -> None:
    on_error = [_note(place, key)]
    place.ask(Op="call", Sig=sig("broken", arg("string", "bad"), OnError=on_error), TimeoutMs=60_000)
    assert eventually(lambda: noted(place, key)) == ["('ValueError: bad',)"]


def test_a_result_that_go_cannot_take_next_fails_the_task(place: Place) -> None:
    odd = sig("document_untyped", OnSuccess=[go("echo_string")])
    answer = place.ask(Op="call", Sig=odd, TimeoutMs=60_000)
    assert "task 'echo_string' takes it next" in answer["Err"]
