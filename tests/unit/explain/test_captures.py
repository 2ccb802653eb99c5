"""Documents are found in their surroundings: dumps, commands, envelopes, lines of a log."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.explain.test_broken import GOOD, GROUP, STATE
from tests.unit.explain.texts import check

from gearmesh.explain.capture import pieces
from gearmesh.explain.text import explain

CHAIN = GOOD.replace(
    '"OnSuccess":null',
    '"OnSuccess":[{"UUID":"task_2","Name":"store","Args":null,"OnSuccess":[{"UUID":"task_3","Name":"tell",'
    '"Immutable":true,"OnError":[{"UUID":"task_4","Name":"log"}]}]}]',
)
CHORD = GOOD.replace('"GroupUUID":"","GroupTaskCount":0', '"GroupUUID":"group_9","GroupTaskCount":2').replace(
    '"ChordCallback":null', '"ChordCallback":{"UUID":"chord_7","Name":"collage","Args":null}'
)
QUOTED = GOOD.replace('"', '\\"')


CAPTURES = {
    "chain": CHAIN,
    "chord": CHORD,
    "retry": GOOD.replace('"RetryCount":2,"RetryTimeout":0', '"RetryCount":1,"RetryTimeout":1').replace(
        '"ETA":null', '"ETA":"2026-11-29T10:00:01Z"'
    ),
    "expiring": GOOD.replace('"Headers":{}', '"Headers":{"gearmesh-expires":"2026-11-29T10:00:00Z"}'),
    "ignored_if_unregistered": GOOD.replace(
        '"IgnoreWhenTaskNotRegistered":false', '"IgnoreWhenTaskNotRegistered":true'
    ),
    "lrange": f'1) "{QUOTED}"\n2) "{QUOTED.replace("resize", "crop")}"\n',
    "monitor": f'1732194241.875 [0 127.0.0.1:5] "RPUSH" "images" "{QUOTED}"\n'
    '1732194241.876 [0 127.0.0.1:5] "BLPOP" "images" "1"\n',
    "json_lines": f"{GOOD}\n{STATE}\n{GROUP}\n",
    "json_list": f"[{GOOD},{STATE}]",
    "json_text": json.dumps(GOOD),
    "base64": base64.b64encode(GOOD.encode()).decode(),
    "our_json": json.dumps([{"queue": "images", "signature": json.loads(GOOD)}]),
    "our_json_undecodable": json.dumps(
        [{"queue": "images", "undecodable": "EOF", "body": base64.b64encode(b'{"UUID":').decode()}]
    ),
    "rabbitmq_management": json.dumps(
        [{"payload": GOOD, "payload_encoding": "string", "routing_key": "images", "redelivered": True}]
    ),
    "sqs": json.dumps({"Messages": [{"MessageId": "m-1", "ReceiptHandle": "r", "Body": GOOD}]}),
    "pubsub": json.dumps(
        {"ackId": "a", "message": {"messageId": "7", "data": base64.b64encode(GOOD.encode()).decode()}}
    ),
    "dynamodb": json.dumps(
        {
            "Item": {
                "TaskUUID": {"S": "task_1"},
                "TaskName": {"S": "resize"},
                "State": {"S": "SUCCESS"},
                "Results": {"L": [{"M": {"Type": {"S": "int64"}, "Value": {"N": "640"}}}]},
                "Error": {"S": ""},
                "CreatedAt": {"S": "2026-11-29T10:00:00Z"},
                "TTL": {"N": "1795270000"},
            }
        }
    ),
    "mongodb_as_mongosh_prints_it": json.dumps(
        {
            "_id": "task_1",
            "task_name": "resize",
            "state": "SUCCESS",
            "results": [{"type": "int64", "value": 640}],
            "created_at": {"$date": "2026-11-29T10:00:00Z"},
        }
    ),
    "go_log": "\n".join(
        [
            "INFO: 2026/11/29 10:00:00 worker.go:58 Launching a worker with the following settings:",
            "INFO: 2026/11/29 10:00:00 worker.go:60 - DefaultQueue: images",
            "INFO: 2026/11/29 10:00:00 redis.go:79 [*] Waiting for messages. To exit press CTRL+C",
            f"DEBUG: 2026/11/29 10:00:01 redis.go:353 Received new message: {GOOD}",
            "WARNING: 2026/11/29 10:00:01 worker.go:213 Task task_5f6ab1e9 failed. Going to retry in 1 seconds.",
            "\x1b[31mERROR: 2026/11/29 10:00:02 worker.go:361 Failed processing task task_5f6ab1e9. Error = no\x1b[0m",
            f"INFO: 2026/11/29 10:00:03 redis.go:348 Task not registered with this worker. Requeuing message: {GOOD}",
            "ERROR: 2026/11/29 10:00:04 x.go:1 Could not unmarshal '{\"UUID\":5}' into a task signature: json: cannot "
            "unmarshal number into Go struct field Signature.UUID of type string",
            "WARNING: 2026/11/29 10:00:05 worker.go:92 Broker failed with error: EOF",
            "DEBUG: 2026/11/29 10:00:06 worker.go:262 Processed task task_5f6ab1e9. Results = [640]",
            "something else",
        ]
    ),
}


@pytest.mark.parametrize("name", CAPTURES)
def test_a_capture_is_explained(name: str) -> None:
    check(f"captures/{name}", explain(CAPTURES[name].encode())[0])


@pytest.mark.parametrize(
    "name", ["lrange", "monitor", "json_text", "base64", "our_json", "rabbitmq_management", "sqs", "pubsub"]
)
def test_the_bytes_inside_come_out_as_they_are(name: str) -> None:
    found = [piece for piece in pieces(CAPTURES[name].encode()) if piece.body is not None]
    assert json.loads(found[0].body or b"") == json.loads(GOOD)
    if name != "our_json":
        assert found[0].body == GOOD.encode()


@pytest.mark.parametrize(
    "line",
    [
        f'1732194241.875 [0 127.0.0.1:5] "RPUSH" "images" "{QUOTED}"',
        f'\r\n1732194241.875 [0 unix:/run/redis] "RPUSH" "images" "{QUOTED}"\r\n',
        f'1) "{QUOTED}"',
    ],
    ids=["monitor", "monitor_socket", "redis_cli"],
)
def test_one_line_alone_is_known(line: str) -> None:
    (found,) = pieces(line.encode())
    assert (found.kind, found.body) == ("signature", GOOD.encode())


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_are_explained(data: bytes) -> None:
    text, faults = explain(data)
    assert text.endswith("\n")
    assert faults >= 0


@given(st.integers(0, len(CHAIN) - 1), st.binary(max_size=3))
def test_a_damaged_message_is_explained(at: int, damage: bytes) -> None:
    data = CHAIN.encode()
    assert explain(data[:at] + damage + data[at + 1 :])[0]


def nested(levels: int) -> bytes:
    return b'{"signature":' * levels + GOOD.encode() + b"}" * levels


@pytest.mark.parametrize(
    "data",
    [
        nested(3000),
        b"[" * 5_000_000,
        b'{"a":' * 1_000_000,
        b'{"UUID":"x","RetryCount":' + b"9" * 2_000_000 + b"}",
        b'{"Name":"x","Args":[{"Type":"' + b"y" * 2_000_000 + b'","Value":1}]}',
        b'{"Name":"x","Args":[{"Type":"int8","Value":' + b"9" * 2_000_000 + b"}]}",
    ],
    ids=["envelopes", "lists", "objects", "digits", "type", "value"],
)
def test_large_and_deep_inputs_are_explained(data: bytes) -> None:
    text, _ = explain(data)
    assert len(text) < 100_000


@pytest.mark.parametrize(
    ("type", "value", "readable"),
    [
        ("int64", {"$numberLong": "640"}, True),
        ("int", {"$numberLong": "640"}, True),
        ("int", {"$numberInt": "640"}, False),
        ("uint", {"$numberLong": "640"}, False),
        ("uint16", 640, False),
        ("[]int8", [{"$numberInt": "1"}], False),
        ("[]uint8", "aGk=", True),
        ("bool", True, True),
        ("json", {"a": 1}, False),
    ],
)
def test_results_that_go_cannot_read_from_mongodb_are_named(type: str, value: Any, readable: bool) -> None:
    document = {"_id": "task_1", "state": "SUCCESS", "results": [{"type": type, "value": value}]}
    text, faults = explain(json.dumps(document).encode())
    told = " ".join(text.split())
    assert (f"A Go caller cannot read a result of the type {type} from MongoDB" in told) == (not readable)
    shown = "string" if type == "json" else type
    assert f"A gearmesh caller's get() returns 1 value: {shown}." in told
    assert faults == (not readable)


@pytest.mark.parametrize("value", ["zz", "9" * 14, "-" + "9" * 14, "9" * 30, None, 5, {}])
def test_a_date_of_mongodb_that_is_none_is_explained(value: Any) -> None:
    document = {"_id": "task_1", "state": "PENDING", "created_at": {"$date": {"$numberLong": value}}}
    assert explain(json.dumps(document).encode())[0].startswith("A document of MongoDB")


def test_bytes_are_counted_only_if_some_are_named() -> None:
    counted = "Byte numbers count from the beginning of the document"
    data = base64.b64encode(GOOD.encode()).decode()
    assert counted not in explain(data.encode())[0]
    assert counted in explain(base64.b64encode(GOOD.replace("uint16", "int8").encode()))[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Requeuing message: {}", "It does so at once, over and over"),
        ("Requeing message: {}", "It does so at once, over and over"),
        ("Requeuing: true with message: {}", "It does so at once, over and over"),
        (
            "Requeuing: false with message: {}",
            "The message is gone unless the queue has a dead letter exchange.",
        ),
    ],
)
def test_the_log_line_shows_if_an_unregistered_message_is_requeued(line: str, said: str) -> None:
    logged = "INFO: 2026/11/29 10:00:03 amqp.go:327 Task not registered with this worker. " + line.format(
        GOOD
    )
    text = " ".join(explain(logged.encode())[0].split())
    others = {"It does so at once, over and over", "The message is gone unless"} - {said[:26], said[:33]}
    assert said in text
    assert not any(other in text for other in others)


@pytest.mark.parametrize(
    ("error", "of_a_message"),
    [
        ("EOF", False),
        ('Exception (501) Reason: "EOF"', False),
        ("Could not unmarshal '{' into a task signature: unexpected EOF", True),
        ("Reflect task args error: 1 is not string", True),
        ("Set state to 'received' for task task_1 returned error: EOF", True),
    ],
)
def test_a_consumer_that_stops_has_lost_its_connection_or_met_a_bad_message(
    error: str, of_a_message: bool
) -> None:
    line = f"WARNING: 2026/11/29 10:00:05 worker.go:92 Broker failed with error: {error}"
    text = " ".join(explain(line.encode())[0].split())
    assert ("because of one message" in text) == of_a_message
    assert ("runs nothing more until you restart its process" in text) == of_a_message


def test_a_message_of_sqs_is_not_said_to_be_put_back_there() -> None:
    # Go: brokers/sqs returns an error for a task that is not registered, and does not delete the message.
    text = " ".join(explain(CAPTURES["sqs"].encode())[0].split())
    assert (
        "On SQS the Go worker leaves the message there, and any worker may get it after its visibility timeout."
        in text
    )
