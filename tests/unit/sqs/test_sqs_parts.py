"""Queues, errors, URLs, the sender and the returner of SQS, without a server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from gearmesh.config import Config, SQSConfig
from gearmesh.errors import ConfigError, LocalProtocolError
from gearmesh.interfaces.commit import Commit, Delivery, Publish, Settle, Token
from gearmesh.transports.sqs import client as client_module
from gearmesh.transports.sqs.client import SQSClient
from gearmesh.transports.sqs.commit_engine import CommitEngine, MessageReturner
from gearmesh.transports.sqs.deleter import Deleter
from gearmesh.transports.sqs.errors import QueueMissing, SQSRefused, SQSUnavailable, error_of
from gearmesh.transports.sqs.message import MAX_HIDDEN_S
from gearmesh.transports.sqs.queues import SQSQueue, queue_of
from gearmesh.transports.sqs.receiver import ReceiveSettings, receive
from gearmesh.transports.sqs.unacked import UNACKED_BY_CONSUMER, SQSUnackedDeliveries, Unacked, journal_of
from gearmesh.urls import SQSTarget, parse

TARGET = SQSTarget("http://sqs.test", "1")


class FakeBoto:
    """Answers requests as SQS does, and keeps them; ``fail`` is raised once by the next one of its operation."""

    def __init__(self, **attributes: str) -> None:
        self.attributes = attributes
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.fail: dict[str, Exception] = {}

    def receive_message(self, **params: Any) -> Any:
        raise AssertionError("not here")

    def __getattr__(self, operation: str) -> Any:
        def call(**params: Any) -> Any:
            self.calls.append((operation, params))
            if operation in self.fail:
                raise self.fail.pop(operation)
            successful = [{"Id": entry["Id"]} for entry in params.get("Entries", ())]
            return {"Attributes": self.attributes, "Successful": successful}

        return call

    def of(self, operation: str) -> list[dict[str, Any]]:
        return [params for name, params in self.calls if name == operation]


def make_client(boto: FakeBoto) -> SQSClient:
    return SQSClient(TARGET, SQSConfig(client=boto))


def held(record: SQSUnackedDeliveries, queue: SQSQueue, *, receives: int = 1, group: str = "") -> Unacked:
    now = time.monotonic()
    number = record.new_id()
    delivery = Delivery(queue=queue.name, consumer=record.consumer, id=number)
    found = Unacked(
        delivery,
        queue,
        b'{"UUID":"task_1"}',
        {},
        f"receipt{number}",
        group,
        receives,
        0.0,
        0.0,
        now,
        30,
        now + 30,
    )
    record.add(found)
    return found


def error(code: str, status: int = 400) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": "why"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "SendMessage")


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (error("AccessDenied", 403), SQSRefused),
        (error("InvalidMessageContents"), SQSRefused),
        (error("AWS.SimpleQueueService.NonExistentQueue"), QueueMissing),
        (error("QueueDoesNotExist"), QueueMissing),
        (error("InternalError", 500), SQSUnavailable),
        (error("ThrottlingException"), SQSUnavailable),
        (error("ExpiredToken", 403), SQSUnavailable),
        (EndpointConnectionError(endpoint_url="http://x"), SQSUnavailable),
        (NoCredentialsError(), SQSRefused),
    ],
)
def test_errors(raised: Exception, kind: type[Exception]) -> None:
    found = error_of("sqs:SendMessage", raised)
    assert type(found) is kind
    assert "sqs:SendMessage" in str(found)


def test_a_missing_permission_is_known() -> None:
    denied = error_of("sqs:DeleteMessage", error("AccessDenied", 403))
    assert isinstance(denied, SQSRefused)
    assert denied.denied


@pytest.mark.parametrize(
    ("url", "region", "queue"),
    [
        (
            "https://sqs.eu-central-1.amazonaws.com/123",
            "eu-central-1",
            "https://sqs.eu-central-1.amazonaws.com/123/jobs",
        ),
        (
            "https://sqs.cn-north-1.amazonaws.com.cn/123/",
            "cn-north-1",
            "https://sqs.cn-north-1.amazonaws.com.cn/123/jobs",
        ),
        ("https://sqs", "", "https://sqs/jobs"),
    ],
)
def test_urls(url: str, region: str, queue: str) -> None:
    target = parse(url, "broker")
    assert isinstance(target, SQSTarget)
    assert (target.region, target.queue_url("jobs")) == (region, queue)


def test_urls_of_other_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISABLE_STRICT_SQS_CHECK", "1")
    target = parse("https://vpce-1.sqs.us-west-2.vpce.amazonaws.com/123", "broker")
    assert isinstance(target, SQSTarget)
    assert target.region == "us-west-2"
    with pytest.raises(ConfigError, match="no password"):
        parse("https://key:secret@sqs.us-west-2.amazonaws.com/1", "broker")


@pytest.mark.parametrize("name", ["a b", "x" * 81, "jobs.other", "é", ".fifo"])
def test_names_that_sqs_does_not_allow(name: str) -> None:
    with pytest.raises(ConfigError, match="SQS allows no other names"):
        Config(broker="https://sqs.eu-central-1.amazonaws.com/1", default_queue=name)


def test_attributes_of_a_queue() -> None:
    policy = {"deadLetterTargetArn": "arn:aws:sqs:r:42:dead", "maxReceiveCount": "7"}
    attributes = {
        "VisibilityTimeout": "45",
        "MaximumMessageSize": "1024",
        "MessageRetentionPeriod": "60",
        "RedrivePolicy": json.dumps(policy),
    }
    found = queue_of("jobs", "http://x/1/jobs", attributes, "http://x")
    assert (found.visibility_s, found.max_bytes, found.retention_s) == (45, 1024, 60)
    assert (found.dead_url, found.max_receives) == ("http://x/42/dead", 7)
    assert queue_of("jobs", "u", {}, "http://x") == SQSQueue("jobs", "u")


def test_attributes_are_read_once_and_assumed_where_they_may_not_be() -> None:
    boto = FakeBoto(VisibilityTimeout="12")
    client = make_client(boto)
    assert [client.queues.get("jobs").visibility_s for _ in range(3)] == [12] * 3
    assert len(boto.of("get_queue_attributes")) == 1
    boto.fail["get_queue_attributes"] = error("AccessDenied", 403)
    assert not client.queues.get("other").known


def test_a_missing_package_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ConfigError, match=r"pip install 'gearmesh\[sqs\]'"):
        client_module.client_of(SQSTarget("http://nowhere.test"), SQSConfig())


def test_boto3_is_not_imported_for_another_broker() -> None:
    code = (
        "import sys, gearmesh; gearmesh.App('redis://localhost').config; "
        "print([name for name in sys.modules if name.startswith(('boto', 'gearmesh.transports.sqs'))])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_a_repeated_batch_leaves_out_accepted_messages_and_marks_the_rest() -> None:
    boto = FakeBoto()
    client = make_client(boto)
    engine = CommitEngine(client, Deleter(client))
    commits = [Commit(publishes=(Publish("jobs", b"%d" % n),)) for n in range(15)]
    boto.fail["send_message_batch"] = EndpointConnectionError(endpoint_url="http://x")
    with pytest.raises(SQSUnavailable):
        engine.commit(commits, token=Token("me", 1))
    first = boto.of("send_message_batch")
    boto.calls.clear()
    assert engine.commit(commits, token=Token("me", 1)) == ["done"] * 15
    again = [entry for params in boto.of("send_message_batch") for entry in params["Entries"]]
    again += boto.of("send_message")
    assert len(first) == 2
    assert len(again) in (5, 10)
    assert all(entry["MessageAttributes"]["gearmesh.duplicate"] for entry in again)


def test_a_repetition_without_some_callers_sends_the_others() -> None:
    """SQS took the first message only; its caller waits no longer when the batch is sent again."""
    boto = FakeBoto()
    client = make_client(boto)
    engine = CommitEngine(client, Deleter(client))
    first, second = (Commit(publishes=(Publish("jobs", body),)) for body in (b"first", b"second"))
    engine.commit([first], token=Token("me", 1))
    boto.calls.clear()
    engine.commit([second], token=Token("me", 1))
    (sent,) = boto.of("send_message")
    assert sent["MessageBody"] == "second"


def test_nothing_is_sent_if_one_message_is_too_large() -> None:
    boto = FakeBoto(MaximumMessageSize="1024")
    client = make_client(boto)
    commits = [Commit(publishes=(Publish("jobs", body),)) for body in (b"x", b"y" * 2000)]
    with pytest.raises(LocalProtocolError, match="takes 1,024"):
        CommitEngine(client, Deleter(client)).commit(commits)
    assert not boto.of("send_message_batch") + boto.of("send_message")


def test_a_commit_sends_before_it_deletes() -> None:
    boto = FakeBoto()
    client = make_client(boto)
    record = UNACKED_BY_CONSUMER.get("unit-test-order")
    deleter = Deleter(client)
    one = held(record, SQSQueue("jobs", "http://x/jobs"))
    commit = Commit(publishes=(Publish("next", b"n"),), settle=Settle(one.delivery))
    assert CommitEngine(client, deleter).commit([commit]) == ["done"]
    deleter.flush()
    names = [name for name, _ in boto.calls if name != "get_queue_attributes"]
    assert names == ["send_message", "delete_message_batch"]
    assert CommitEngine(client, deleter).commit([commit]) == ["lost"]


def test_short_and_fifo_waits_hide_the_message_and_others_copy_it() -> None:
    boto = FakeBoto()
    returner = MessageReturner(make_client(boto))
    record = UNACKED_BY_CONSUMER.get("unit-test-returns")
    plain, fifo = SQSQueue("jobs", "http://x/jobs"), SQSQueue("jobs.fifo", "http://x/jobs.fifo")
    last = SQSQueue("last", "http://x/last", dead_url="http://x/dead", max_receives=3)
    many = [
        (held(record, plain), 1.2),
        (held(record, plain), 3600.0),
        (held(record, fifo, group="red"), 1e6),
        (held(record, last, receives=3), 0.0),
    ]
    assert returner.give_back(many) == []
    hidden = [
        entry["VisibilityTimeout"]
        for params in boto.of("change_message_visibility_batch")
        for entry in params["Entries"]
    ]
    assert sorted(hidden) == [2, MAX_HIDDEN_S]
    sent = boto.of("send_message")
    assert sorted(params.get("DelaySeconds", 0) for params in sent) == [0, 900]
    assert all(params["MessageAttributes"]["gearmesh.republished"] for params in sent)
    assert len(boto.of("delete_message_batch")) == 2
    assert not record.held


def test_a_journal_outlives_the_process_that_wrote_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deliveries as a receive makes them, of which one was settled."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    raw = {
        "Body": "{}",
        "ReceiptHandle": "receipt",
        "Attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1000"},
        "MessageAttributes": {"gearmesh.crashes": {"StringValue": "5"}},
    }
    boto = FakeBoto()
    boto.receive_message = lambda **params: {"Messages": [raw, raw]}  # type: ignore[method-assign]
    record = SQSUnackedDeliveries("unit-test-journal")
    record.journal = journal_of(record.consumer)
    queue = SQSQueue("jobs", "http://x/jobs", max_receives=3)
    settings = ReceiveSettings(0, 30)
    came = receive(
        make_client(boto), queue, record.consumer, count=2, settings=settings, new_id=record.new_id
    )
    for each in came:
        record.add(each)
    record.forget(came[:1])
    (found,) = journal_of(record.consumer).read()
    assert (found.delivery, found.queue, found.body, found.receipt) == (
        came[1].delivery,
        queue,
        b"{}",
        "receipt",
    )
    assert (found.delivery.crash_count, found.delivery.redelivered) == (1.25, 1)
    journal_of(record.consumer).close()
    assert journal_of(record.consumer).read() == []
