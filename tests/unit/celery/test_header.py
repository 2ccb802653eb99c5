"""The header for Celery's fields that Go has no field for. Stored messages have it, so its letters are fixed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from gearmesh.celery.codec import from_wire, own_headers, to_wire
from gearmesh.celery.content import DEFAULT_HEADERS, TaskMessage, read, write
from gearmesh.celery.step_types import raw_step
from gearmesh.errors import LocalProtocolError
from gearmesh.wire import types as wire
from gearmesh.wire.codec import decode, encode
from gearmesh.wire.signature import Signature

STEP = {"task": "next", "args": [], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}


def call(headers: dict[str, Any] | None = None, **fields: Any) -> TaskMessage:
    own = {**DEFAULT_HEADERS, "task": "add", "id": "1", "root_id": "1"} | (headers or {})
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return TaskMessage(headers=own, **{"embed": embed, **fields})


def apart(sig: Signature) -> dict[str, Any]:
    """The content of the header."""
    assert sig.Headers is not None
    found: dict[str, Any] = json.loads(wire.load("string", sig.Headers["celery"]))
    return found


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (call(), {"n": 0, "h": {}}),
        (call(args=[1, "a"]), {"n": 2, "h": {}}),
        (call(args=[1, None]), {"n": 0, "h": {}, "a": [1, None]}),
        (call(kwargs={"x": 1}), {"n": 0, "h": {}, "k": {"x": 1}}),
        (call({"retries": 2, "root_id": "0"}), {"n": 0, "h": {"retries": 2, "root_id": "0"}}),
        (call({"retries": False}), {"n": 0, "h": {"retries": False}}),
        (call({"who": "me", "size": 3}), {"n": 0, "h": {"size": 3}}),
        (call(reply_to="queue"), {"n": 0, "h": {}, "r": "queue"}),
        (call(properties={"app_id": "a"}), {"n": 0, "h": {}, "p": {"app_id": "a"}}),
        (call(requeued=True), {"n": 0, "h": {}, "d": 1}),
        (call(content="msgpack"), {"n": 0, "h": {}, "c": "msgpack"}),
        (
            call(embed={"callbacks": [STEP], "errbacks": None, "chain": [STEP], "chord": None}),
            {"n": 0, "h": {}, "e": {"callbacks": [STEP], "chain": [STEP]}},
        ),
    ],
)
def test_the_header_holds_only_non_default_fields_and_all_are_restored(
    message: TaskMessage, expected: dict[str, Any]
) -> None:
    sig = decode(encode(to_wire(message, queue="q")))
    assert apart(sig) == expected
    assert from_wire(sig) == message


def test_the_header_marks_an_immutable_call_and_one_that_go_began() -> None:
    assert apart(to_wire(call(), queue="q", results=False)) == {"n": 0, "h": {}, "i": 1}
    began = from_wire(Signature(UUID="1", Name="add", RoutingKey="q", Args=(wire.arg("int8", 1),)))
    assert began.headers["lang"] == "go"
    sig = to_wire(began, queue="q")
    assert apart(sig)["g"] == 1
    assert [arg.Type for arg in sig.Args or ()] == ["int8"], "the types are Go's"


def test_the_header_is_text_in_one_form() -> None:
    """Go publishes it again as it is; nested headers it could not."""
    sig = to_wire(call(args=[1], kwargs={"é": "<"}), queue="q")
    text = wire.load("string", (sig.Headers or {})["celery"])
    assert text == '{"n":1,"h":{},"k":{"\\u00e9":"<"}}'


def test_results_that_go_appends_are_told_from_the_call_s_own_arguments() -> None:
    sig = to_wire(call(args=[1, 2]), queue="q")
    sent = sig.evolve(Args=(*(sig.Args or ()), wire.arg("string", "result")))
    assert from_wire(sent).args == ["result", 1, 2]
    untyped = to_wire(call(args=[None]), queue="q").evolve(Args=(wire.arg("string", "result"),))
    assert from_wire(untyped).args == ["result", None]
    immutable = to_wire(call(args=[1]), queue="q", results=False)
    sent = immutable.evolve(Args=(*(immutable.Args or ()), wire.arg("string", "result")))
    assert from_wire(sent).args == [1]


def test_go_sees_the_caller_s_headers_of_text_and_bool_alone() -> None:
    headers = {
        **DEFAULT_HEADERS, "task": "t", "text": "é", "yes": True, "number": 1, "none": None, "half": "\ud800",
        "celery": "x", "gearmesh": "x",
    }  # fmt: skip
    assert {name: json.loads(bytes(raw)) for name, raw in own_headers(headers).items()} == {
        "text": "é",
        "yes": True,
    }


def test_a_step_of_go_s_goes_where_go_looks_for_it() -> None:
    go, chord = (Signature(UUID=name, Name="go") for name in ("2", "3"))
    raw = raw_step(go, immutable=True)
    embed = {
        "callbacks": [STEP, raw], "errbacks": [raw], "chain": None,
        "chord": raw_step(chord, immutable=False, count=3),
    }  # fmt: skip
    message = call({"group": "g"}, embed=embed)
    sig = to_wire(message, queue="q")
    assert [each.UUID for each in sig.OnSuccess or ()] == ["2"]
    assert [each.UUID for each in sig.OnError or ()] == ["2"]
    assert sig.Immutable
    assert sig.ChordCallback is not None
    assert (sig.ChordCallback.UUID, sig.GroupUUID, sig.GroupTaskCount) == ("3", "g", 3)
    assert apart(sig)["e"] == {"callbacks": [STEP]}
    assert from_wire(decode(encode(sig))) == message


# -- protocol 1


def test_a_call_of_protocol_1_is_read_as_one_of_protocol_2() -> None:
    content = {
        "task": "add", "id": "1", "args": [1], "kwargs": {"x": 2}, "retries": 3, "taskset": "g", "eta": None,
        "callbacks": [STEP], "utc": True,
    }  # fmt: skip
    properties = {"priority": 200, "reply_to": None, "app_id": "a", "delivery_mode": 2, "type": ""}
    found = read(json.dumps(content), "application/json", {"who": "me"}, properties)
    assert found is not None
    assert (found.name, found.id, found.args, found.kwargs) == ("add", "1", [1], {"x": 2})
    assert {name: found.headers[name] for name in ("retries", "group", "root_id", "timelimit", "who", "lang")} == {
        "retries": 3, "group": "g", "root_id": "1", "timelimit": [None, None], "who": "me", "lang": "py",
    }  # fmt: skip
    assert found.embed == {"callbacks": [STEP], "errbacks": None, "chain": None, "chord": None}
    assert (found.priority, found.reply_to, found.properties) == (200, "", {"app_id": "a"})


@pytest.mark.parametrize(
    ("fields", "group"), [({}, None), ({"group": "g"}, "g"), ({"taskset": "s", "group": "g"}, "s")]
)
def test_a_group_of_protocol_1_has_either_name(fields: dict[str, str], group: str | None) -> None:
    content = {"task": "add", "id": "1", "args": [], "kwargs": {}, **fields}
    found = read(json.dumps(content), "application/json", {}, {})
    assert found is not None
    assert found.headers["group"] == group


@pytest.mark.parametrize("content", [{"task": "add", "id": "1"}, [], {"method": "ping"}])
def test_content_without_a_call_is_no_call(content: Any) -> None:
    assert read(json.dumps(content), "application/json", {}, {}) is None


@pytest.mark.parametrize("priority", [-1, 256, "5", 1.5])
def test_a_priority_that_go_cannot_keep_is_refused(priority: Any) -> None:
    with pytest.raises(
        LocalProtocolError, match=rf"task 't': priority is {priority!r}, expected .* 0 to 255"
    ):
        read(b"[[], {}, {}]", "application/json", {"task": "t", "id": "1"}, {"priority": priority})


def test_a_call_without_a_priority_has_zero() -> None:
    found = read(b"[[], {}, {}]", "application/json", {"task": "t", "id": "1"}, {"priority": None})
    assert found is not None
    assert found.priority == 0


def test_messagepack_is_written_to_a_sender_of_messagepack() -> None:
    message = call(args=[{"__type__": "base64", "__value__": "/w=="}], content="msgpack")
    body, content_type, encoding = write(message)
    assert (content_type, encoding) == ("application/x-msgpack", "binary")
    assert msgspec.msgpack.decode(body)[0] == [b"\xff"]
    assert read(body, content_type, message.headers, {}) == message


def test_a_call_of_text_cannot_be_messagepack() -> None:
    with pytest.raises(LocalProtocolError, match="cannot be read"):
        read("\xc1", "application/x-msgpack", {"task": "t", "id": "1"}, {})
