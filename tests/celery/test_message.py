"""The translation between Celery's message and a Signature: laws for all messages, and recordings of Celery."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from celery import Celery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gearmesh.celery import configure
from gearmesh.celery.codec import CELERY_HEADER, ORIGIN_HEADER, from_wire, to_wire
from gearmesh.celery.content import DEFAULT_HEADERS, TaskMessage, read, write
from gearmesh.celery.outgoing import outgoing
from gearmesh.celery.setup import bridge_of
from gearmesh.celery.step_types import is_raw, raw_of
from gearmesh.errors import LocalProtocolError, RemoteProtocolError
from gearmesh.wire import types as wire
from gearmesh.wire import workflow
from gearmesh.wire.codec import decode, encode
from gearmesh.wire.names import EXPIRES_HEADER
from gearmesh.wire.signature import Signature

RECORDED = json.loads((Path(__file__).parent / "recordings.json").read_text("utf-8"))

law = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
names = st.text('abcé\u2028"<', min_size=1, max_size=6)
values = st.recursive(
    scalars | st.binary(max_size=9).map(lambda octets: json.loads(_kombu(octets))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)
steps = st.fixed_dictionaries(
    {
        "task": names,
        "args": st.lists(values, max_size=3),
        "kwargs": st.dictionaries(names, values, max_size=2),
        "options": st.fixed_dictionaries({"task_id": st.uuids().map(str)}),
        "subtask_type": st.none(),
        "immutable": st.booleans(),
    }
)
own = st.dictionaries(
    names.filter(lambda name: name not in DEFAULT_HEADERS and name not in (CELERY_HEADER, ORIGIN_HEADER)),
    values,
    max_size=3,
)
some = st.lists(steps, max_size=2).map(lambda found: found or None)


def _kombu(value: Any) -> str:
    from kombu.utils.json import dumps

    return dumps(value)


@st.composite
def messages(draw: Any) -> TaskMessage:
    task_id = draw(st.uuids().map(str))
    headers = {
        **DEFAULT_HEADERS,
        **draw(own),
        "task": draw(names),
        "id": task_id,
        "root_id": draw(st.just(task_id) | st.uuids().map(str)),
        "parent_id": draw(st.none() | st.uuids().map(str)),
        "group": draw(st.none() | st.uuids().map(str)),
        "group_index": draw(st.none() | st.integers(0, 9)),
        "retries": draw(st.integers(0, 9)),
        "timelimit": draw(st.sampled_from([[None, None], [3, None], [3.5, 2]])),
        "ignore_result": draw(st.sampled_from([None, True, False])),
        "argsrepr": draw(st.none() | st.text()),
        "kwargsrepr": draw(st.none() | st.text()),
        "origin": draw(st.none() | st.text()),
        "expires": draw(st.none() | st.just("2030-01-01T00:00:00+00:00")),
        "stamped_headers": draw(st.none() | st.just(["who"])),
    }
    return TaskMessage(
        headers=headers,
        args=draw(st.lists(values, max_size=4)),
        kwargs=draw(st.dictionaries(names, values, max_size=3)),
        embed={
            "callbacks": draw(some),
            "errbacks": draw(some),
            "chain": draw(some),
            "chord": draw(st.none() | steps),
        },
        priority=draw(st.integers(0, 255)),
        reply_to=draw(st.text(st.characters(codec="utf-8"), max_size=9)),
    )


def over_the_wire(sig: Signature) -> Signature:
    return decode(encode(sig))


@law
@given(messages())
def test_a_message_of_celery_survives_the_wire_unchanged(message: TaskMessage) -> None:
    sig = over_the_wire(to_wire(message, queue="q"))
    assert from_wire(sig) == message
    assert (sig.UUID, sig.Name, sig.RoutingKey, sig.Priority) == (
        message.id, message.name, "q", message.priority
    )  # fmt: skip


@law
@given(messages(), st.sampled_from(["json", "msgpack"]))
def test_celery_reads_the_message_that_was_sent(message: TaskMessage, content: Any) -> None:
    try:
        msgspec.msgpack.encode([message.args, message.kwargs, message.embed])
    except (OverflowError, UnicodeEncodeError):
        content = "json"  # MessagePack has no such integers, and no half characters
    message = msgspec.structs.replace(message, content=content)
    body, content_type, _ = write(from_wire(over_the_wire(to_wire(message, queue="q"))))
    properties = {"reply_to": message.reply_to, "priority": message.priority}
    assert read(body, content_type, message.headers, properties) == message


@law
@given(
    messages(), st.lists(st.sampled_from([("int64", 7), ("string", "x"), ("[]float64", [1.5])]), max_size=3)
)
def test_results_that_go_appends_are_the_first_arguments(
    message: TaskMessage, appended: list[tuple[str, Any]]
) -> None:
    sig = to_wire(message, queue="q")
    results = [wire.result(kind, value) for kind, value in appended]
    (sent,) = workflow.after_success(Signature(OnSuccess=(sig,)), results)
    assert from_wire(over_the_wire(sent)).args == [value for _, value in appended] + message.args
    immutable = to_wire(message, queue="q", results=False)
    (sent,) = workflow.after_success(Signature(OnSuccess=(immutable,)), results)
    assert from_wire(over_the_wire(sent)).args == message.args


go_values = st.sampled_from(
    [
        ("int64", -(2**63)), ("uint64", 2**64 - 1), ("int8", 5), ("float64", 0.5), ("string", "é\u2028<"),
        ("bool", True), ("[]byte", b"\x00\xff"), ("[]byte", b"text"), ("[]int64", [1, 2]), ("[]string", ["a"]),
    ]
)  # fmt: skip


@st.composite
def go_signatures(draw: Any, depth: int = 2) -> Signature:
    fields: dict[str, Any] = {
        "UUID": draw(st.uuids().map(lambda found: f"task_{found}")),
        "Name": draw(names),
        "RoutingKey": draw(names),
        "Args": tuple(wire.arg(*draw(go_values)) for _ in range(draw(st.integers(0, 3)))),
        "Headers": {
            name: wire.dump("string", value)
            for name, value in draw(
                st.dictionaries(
                    names.filter(lambda n: n not in (*DEFAULT_HEADERS, CELERY_HEADER, ORIGIN_HEADER)),
                    names,
                    max_size=2,
                )
            ).items()
        },
        "Priority": draw(st.integers(0, 255)),
        "RetryCount": draw(st.integers(0, 5)),
        "RetryTimeout": draw(st.integers(0, 50)),
        "StopTaskDeletionOnError": draw(st.booleans()),
        "IgnoreWhenTaskNotRegistered": draw(st.booleans()),
    }
    if depth:
        below = st.lists(go_signatures(depth - 1), max_size=2).map(lambda found: tuple(found) or None)
        fields |= {"OnSuccess": draw(below), "OnError": draw(below)}
        if fields["OnSuccess"]:
            fields["Immutable"] = draw(st.booleans())
        if draw(st.booleans()):
            callback = draw(go_signatures(0))
            fields |= {"ChordCallback": callback, "GroupUUID": "group_1", "GroupTaskCount": 3}
    return Signature(**fields)


@law
@given(go_signatures())
def test_a_retry_by_celery_keeps_the_signature_of_go(sig: Signature) -> None:
    """A retry by Celery of a task from Go is the same to Go, except for the header that Celery adds."""
    sent = over_the_wire(to_wire(from_wire(sig), queue=sig.RoutingKey))
    apart = dict(sent.Headers or {})
    assert apart.pop(CELERY_HEADER)
    assert sent.evolve(Headers=apart) == sig
    again = over_the_wire(to_wire(from_wire(sent), queue=sig.RoutingKey))
    assert again == sent


@law
@given(go_signatures())
def test_celery_gets_the_callbacks_and_errbacks_of_go_s_task(sig: Signature) -> None:
    embed = from_wire(sig).embed
    assert [raw_of(step) for step in embed["callbacks"] or ()] == list(sig.OnSuccess or ())
    assert [raw_of(step) for step in embed["errbacks"] or ()] == list(sig.OnError or ())
    assert all(is_raw(step) and step["immutable"] == sig.Immutable for step in embed["callbacks"] or ())
    assert (embed["chord"] is None) == (sig.ChordCallback is None)


@pytest.mark.parametrize("recorded", RECORDED, ids=[each["name"] for each in RECORDED])
def test_recorded(recorded: dict[str, Any]) -> None:
    body = base64.b64decode(recorded["body"])
    message = read(body, recorded["content_type"], recorded["headers"], recorded["properties"])
    assert message is not None
    sig = to_wire(message, queue=recorded["queue"])
    assert encode(sig).decode() == recorded["signature"]
    again = from_wire(decode(recorded["signature"].encode()))
    assert again == msgspec.structs.replace(message, headers={**message.headers, "eta": None})


def test_control_and_events_are_no_tasks() -> None:
    assert read(b'{"method":"ping","arguments":{}}', "application/json", {"clock": 1}, {}) is None
    assert read(b"\x80", "application/x-python-serialize", {}, {}) is None
    assert read(b'[{"type":"task-sent","uuid":"1"}]', "application/json", {"hostname": "a"}, {}) is None


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (b"\x80\x04.", "application/x-python-serialize", "task_serializer = 'json'"),
        (b"a: 1", "application/x-yaml", "does not send pickle and yaml"),
        (b"[1, 2", "application/json", "cannot be read"),
        (b"[1, 2]", "application/json", r"expected \[args, kwargs, embed\]"),
        (b'[{}, {}, {}]', "application/json", "expected a list and a mapping"),
        (msgspec.msgpack.encode([[], {1: 2}, {}]), "application/x-msgpack", "expected text"),
    ],
)  # fmt: skip
def test_read_refuses_a_body_that_cannot_cross(body: bytes, content_type: str, said: str) -> None:
    with pytest.raises(LocalProtocolError, match=said):
        read(body, content_type, {"task": "t", "id": "1"}, {})


@pytest.mark.parametrize(
    "raw",
    [
        b"1",
        b'"{"',
        b'"[]"',
        b'"{\\"n\\":-1}"',
        b'"{\\"n\\":\\"1\\"}"',
        b'"{\\"h\\":[]}"',
        b'"{\\"c\\":\\"pickle\\"}"',
    ],
)
def test_a_damaged_header_is_an_error(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="Headers"):
        from_wire(Signature(UUID="1", Name="t", Headers={CELERY_HEADER: msgspec.Raw(raw)}))


def test_an_argument_that_is_not_of_its_type_is_an_error() -> None:
    sig = Signature(UUID="1", Name="t", Args=(wire.arg("string", "x"),))
    broken = decode(encode(sig).replace(b'"Type":"string"', b'"Type":"int64"'))
    with pytest.raises(RemoteProtocolError, match="int64"):
        from_wire(broken)


def test_go_sees_typed_arguments_where_there_are_types() -> None:
    message = TaskMessage(
        headers={**DEFAULT_HEADERS, "task": "t", "id": "1", "root_id": "1"},
        args=[1, 2**63, 1.5, "a", True, json.loads(_kombu(b"\xff")), [1, 2], ["a"]],
    )
    types = [arg.Type for arg in to_wire(message, queue="q").Args or ()]
    assert types == ["int64", "uint64", "float64", "string", "bool", "[]byte", "[]int64", "[]string"]
    untyped = msgspec.structs.replace(message, args=[1, None])
    assert to_wire(untyped, queue="q").Args == ()
    assert from_wire(to_wire(untyped, queue="q")).args == [1, None]


def test_results_of_go_are_lists_and_marked_bytes() -> None:
    sig = Signature(UUID="1", Name="t", Args=(wire.arg("[]byte", b"\xff"), wire.arg("[]int64", [])))
    assert from_wire(sig).args == [json.loads(_kombu(b"\xff")), []]


def test_the_expiry_of_a_signature_is_celery_s() -> None:
    headers = {EXPIRES_HEADER: msgspec.Raw(b'"2030-01-02T03:04:05.123456789Z"'), "who": msgspec.Raw(b'"me"')}
    message = from_wire(Signature(UUID="task_x", Name="add", Headers=headers))
    assert message.headers["expires"] == "2030-01-02T03:04:05.123456+00:00"
    assert EXPIRES_HEADER not in message.headers
    assert message.headers["who"] == "me"
    unreadable = from_wire(Signature(UUID="task_x", Name="add", Headers={EXPIRES_HEADER: msgspec.Raw(b"5")}))
    assert unreadable.headers.get("expires") is None


@pytest.mark.parametrize(
    ("zone", "expires", "on_the_wire"),
    [
        ("UTC", "2030-01-02T03:04:05+00:00", "2030-01-02T03:04:05Z"),
        ("Europe/Paris", "2030-01-02T03:04:05", "2030-01-02T04:04:05+01:00"),  # Celery: naive is UTC
    ],
)
def test_celery_s_expiry_is_a_header_of_the_signature(zone: str, expires: str, on_the_wire: str) -> None:
    with Celery("shop", set_as_current=False) as app:
        configure(app, broker="redis://127.0.0.1:1/0", backend="redis://127.0.0.1:1/0")
        app.conf.timezone = zone
        message = TaskMessage(
            headers={
                **DEFAULT_HEADERS,
                "task": "add",
                "id": "task_x",
                "root_id": "task_x",
                "expires": expires,
            }
        )
        sig = outgoing(bridge_of(app), message, "celery")
        assert sig.Headers is not None
        assert msgspec.json.decode(sig.Headers[EXPIRES_HEADER]) == on_the_wire
        assert from_wire(decode(encode(sig))).headers["expires"] == expires, "Celery's own wording goes first"
