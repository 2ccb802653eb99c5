"""Messages that Go has sent to SQS are decoded, and ours have the same bodies and attributes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gearmesh.transports.sqs.message import (
    OutgoingMessage,
    body_of,
    check_routing,
    deduplication_id,
    delay_seconds,
    eta_of,
    text_of,
)
from gearmesh.transports.sqs.queues import SQSQueue
from gearmesh.wire.codec import decode, encode
from gearmesh.wire.gotime import parse

GOLDEN = Path(__file__).parents[1] / "golden" / "cloud"
#: Without that of the ETA: its message was delayed when the queue was looked at.
SEEN = sorted(path for path in GOLDEN.glob("sqs-*.txt") if path.stem != "sqs-eta")
WIRE = sorted(GOLDEN.glob("wire-*.txt"))


def bodies(path: Path) -> list[bytes]:
    """The messages in a queue, as Go wrote them."""
    lines = path.read_text().splitlines()
    return [line.removeprefix("BODY ").encode() for line in lines if line.startswith("BODY {")]


def sent(path: Path) -> Iterator[dict[str, Any]]:
    """The requests by which Go has sent messages."""
    target = ""
    for line in path.read_text().splitlines():
        if line.startswith("POST "):
            target = line
        elif line.startswith("  REQ ") and "AmazonSQS.SendMessage" in target:
            yield json.loads(line.removeprefix("  REQ "))


@pytest.mark.parametrize("path", SEEN, ids=lambda path: path.stem)
def test_recorded_messages_are_read_and_written_alike(path: Path) -> None:
    found = bodies(path)
    assert found
    for body in found:
        assert encode(decode(body)) == body
        assert text_of(body) == (body.decode(), {}), "no attribute of ours, so that Go reads it"
        assert body_of(body.decode(), {}) == body
        sig = decode(body)
        assert eta_of(body) == (parse(sig.ETA) if sig.ETA else 0)


@pytest.mark.parametrize("path", SEEN, ids=lambda path: path.stem)
def test_recorded_messages_have_no_attributes(path: Path) -> None:
    marks = [line.rpartition("MSGATTR ")[2] for line in path.read_text().splitlines() if " MSGATTR " in line]
    assert set(marks) == {"null"}


@pytest.mark.parametrize("path", [path for path in WIRE if list(sent(path))], ids=lambda path: path.stem)
def test_requests_of_ours_are_go_s(path: Path) -> None:
    for request in sent(path):
        name = request["QueueUrl"].rpartition("/")[2]
        body = request["MessageBody"].encode()
        text, attributes = text_of(body)
        group = check_routing(name, body)
        ours = OutgoingMessage(SQSQueue(name, request["QueueUrl"]), text, attributes, 0, group)
        if group:
            ours.deduplication = deduplication_id(body)
        wanted = {key: value for key, value in request.items() if key not in ("QueueUrl", "DelaySeconds")}
        assert ours.request() == wanted


def test_a_retry_on_a_fifo_queue_has_an_id_of_its_own() -> None:
    """Go sends it with that of the first send, so that SQS drops it: its answer has the first message's id."""
    first, retry = sent(GOLDEN / "wire-fiforetry.txt")
    assert first["MessageDeduplicationId"] == retry["MessageDeduplicationId"]
    body = retry["MessageBody"].encode()
    uuid = decode(body).UUID
    ours = deduplication_id(body, retry_of=uuid)
    assert ours.startswith(f"{uuid}.")
    assert ours == deduplication_id(body, retry_of=uuid), "the same Commit, sent again, is one message"
    later = msgspec.structs.replace(decode(body), RetryCount=7)
    assert ours != deduplication_id(encode(later), retry_of=uuid)


def test_a_retried_message_of_go_s_carries_the_old_receipt_handle() -> None:
    """Ours does not: see test_a_retry_carries_no_receipt_handle in tests/contract/test_sqs_at_work.py."""
    _, retry = sent(GOLDEN / "wire-fiforetry.txt")
    assert decode(retry["MessageBody"].encode()).SQSReceiptHandle


def test_a_delay_is_rounded_up() -> None:
    """Go cuts it, and its tasks run early."""
    second = 10**9
    assert [delay_seconds(eta, 10 * second) for eta in (0, 10 * second, 10 * second + 1, 12 * second)] == [
        0,
        0,
        1,
        2,
    ]
