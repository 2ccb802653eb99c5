"""Bodies, sizes, ETAs and ids of SQS messages, without a server."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh.errors import LocalProtocolError
from gearmesh.interfaces.transport import SIGNATURE_CONTENT_TYPE
from gearmesh.transports.sqs.commit_engine import MAX_PARK_S, park_pause
from gearmesh.transports.sqs.message import (
    MAX_DELAY_S,
    OutgoingMessage,
    body_of,
    check_routing,
    deduplication_id,
    delay_seconds,
    eta_of,
    text_of,
    to_stored,
)
from gearmesh.transports.sqs.queues import SQSQueue
from gearmesh.wire.codec import decode, encode
from gearmesh.wire.gotime import format_ns
from gearmesh.wire.signature import Arg, Signature

SECOND = 10**9
#: Characters that SQS takes in a body.
ALLOWED = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")


@given(st.binary(max_size=200))
def test_any_bytes_come_back(body: bytes) -> None:
    text, attributes = text_of(body)
    assert ALLOWED.fullmatch(text), "SQS takes it"
    assert body_of(text, attributes) == body


@given(st.text(max_size=50))
def test_a_signature_stays_as_go_reads_it(text: str) -> None:
    try:
        body = encode(Signature(UUID="u", Name="n", Args=(Arg("string", text),)))
    except LocalProtocolError:
        return
    sent, attributes = text_of(body)
    assert attributes == {}
    assert ALLOWED.fullmatch(sent)
    assert decode(sent.encode()) == decode(body)


def test_noncharacters_are_escaped() -> None:
    assert text_of('{"Name":"\ufffe\uffff"}'.encode()) == ('{"Name":"\\ufffe\\uffff"}', {})


def test_an_envelope_of_kombu_is_marked() -> None:
    assert to_stored({"content-type": SIGNATURE_CONTENT_TYPE, "body": "{}"}) == (b"{}", {})
    body, marks = to_stored({"content-type": "application/json", "body": "{}"})
    assert json.loads(body)["body"] == "{}"
    assert marks


@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_a_delay_is_never_too_short_and_less_than_a_second_too_long(eta_ns: int, now_ns: int) -> None:
    late_ns = now_ns + delay_seconds(eta_ns, now_ns) * SECOND - eta_ns
    assert late_ns >= 0
    assert eta_ns <= now_ns or late_ns < SECOND


def test_an_eta_of_twenty_minutes_is_two_delays() -> None:
    """The first delay is the longest that SQS allows; the worker then sends the message on with the rest."""
    eta = 1_000_000 * SECOND + 20 * 60 * SECOND
    first = min(MAX_DELAY_S, delay_seconds(eta, 1_000_000 * SECOND))
    assert first == 900
    assert delay_seconds(eta, (1_000_000 + first) * SECOND) == 300


@pytest.mark.parametrize(
    ("body", "eta"),
    [
        (b'{"ETA":"2026-01-01T00:00:00Z"}', 1767225600 * SECOND),
        (b'{"UUID":"x", "ETA": "2026-01-01T00:00:00Z"}', 1767225600 * SECOND),
        (b'{"ETA":null}', 0),
        (b'{"ETA":null,"OnSuccess":[{"ETA":"2026-01-01T00:00:00Z"}]}', 0),
        (b'{"ETA":"soon"}', 0),
        (b'{"ETA":"2026', 0),
        (b'\xff"ETA":"', 0),
        (b"", 0),
    ],
)
def test_etas(body: bytes, eta: int) -> None:
    assert eta_of(body) == eta


@given(st.integers(0, 2**62))
def test_the_eta_of_a_signature_of_ours_is_found(eta_ns: int) -> None:
    assert eta_of(encode(Signature(UUID="u", Name="n", ETA=format_ns(eta_ns)))) == eta_ns


@given(st.text(max_size=300))
def test_a_deduplication_id_is_one_that_sqs_takes(uuid: str) -> None:
    for retry_of in ("", uuid):
        found = deduplication_id(json.dumps({"UUID": uuid}).encode(), retry_of=retry_of)
        assert re.fullmatch(r"[\x21-\x7e]{1,128}", found)


def test_deduplication_ids() -> None:
    first, retry = b'{"UUID":"task_1","RetryCount":2}', b'{"UUID":"task_1","RetryCount":1}'
    assert deduplication_id(first) == "task_1"
    again = deduplication_id(retry, retry_of="task_1")
    assert again not in ("task_1", deduplication_id(first, retry_of="task_1"))
    assert deduplication_id(b'{"UUID":"task_2"}', retry_of="task_1") == "task_2", (
        "the message is a follow-up of task_1"
    )


def test_a_fifo_queue_needs_a_group() -> None:
    assert check_routing("jobs", b"{}") == ""
    assert check_routing("jobs.fifo", b'{"BrokerMessageGroupId":"red"}') == "red"
    with pytest.raises(LocalProtocolError, match=r"task 'add' \(task_1\).*'jobs\.fifo'.*message_group="):
        check_routing("jobs.fifo", b'{"Name":"add","UUID":"task_1"}')


def test_sizes_count_message_attributes() -> None:
    queue = SQSQueue("jobs", "http://x/jobs", max_bytes=100)
    assert OutgoingMessage(queue, "é" * 10).size == 20
    assert OutgoingMessage(queue, "x", {"name": "value"}).size == 1 + len("nameStringvalue")
    OutgoingMessage(queue, "x" * 100).check_size()
    large = OutgoingMessage(queue, json.dumps({"UUID": "task_1", "Name": "add", "Args": "x" * 100}))
    with pytest.raises(LocalProtocolError, match=r"'add' \(task_1\).*takes 100: raise.*MaximumMessageSize"):
        large.check_size()


def test_parking_pauses_grow_to_twelve_hours() -> None:
    pauses = [park_pause(receives) for receives in range(1, 100)]
    assert pauses[:6] == [0, 1, 2, 4, 8, 16]
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_PARK_S < 12 * 3600
