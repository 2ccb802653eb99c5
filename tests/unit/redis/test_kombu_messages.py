"""Items of a Redis list as kombu messages, and back; the credit that kombu's QoS counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.json import dumps

from gearmesh.interfaces.commit import Delivery
from gearmesh.interfaces.transport import SIGNATURE_CONTENT_TYPE
from gearmesh.transports.redis.message import FetchedMessage, Message, to_item
from gearmesh.transports.redis.qos import QoS
from gearmesh.wire.codec import encode
from gearmesh.wire.signature import Signature


class Channel:
    """A stand-in for the channel that a message and a QoS belong to."""

    def __init__(self, held: int = 0) -> None:
        self.unacked = SimpleNamespace(open=dict.fromkeys(range(held)))
        self.done: list[Any] = []

    def decode_body(self, body: Any, encoding: str | None) -> Any:
        self.done.append(("decode", encoding))
        return body

    def settle_one(self, tag: int, how: str) -> None:
        self.done.append((tag, how))

    def put_back_all(self) -> None:
        self.done.append("put back")


def received(body: bytes, id: int = 7) -> Message:
    return Message(FetchedMessage(body, Delivery(queue="q", consumer="c", id=id)), channel=Channel())


def envelope(**fields: Any) -> dict[str, Any]:
    return {
        "body": "aGk=",
        "content-type": "text/plain",
        "content-encoding": "utf-8",
        "headers": {"who": "me"},
        "properties": {
            "body_encoding": None,
            "delivery_tag": "theirs",
            "delivery_info": {"exchange": "e", "routing_key": "r"},
        },
    } | fields


def test_a_signature_s_body_is_the_very_bytes_of_the_item() -> None:
    body = encode(Signature(UUID="t", Name="add", RoutingKey="q"))
    message = received(body)
    assert (message.body, message.content_type, message.delivery_tag) == (body, SIGNATURE_CONTENT_TYPE, 7)
    assert message.delivery == Delivery(queue="q", consumer="c", id=7)
    assert message.delivery_info == {"exchange": "", "routing_key": "q"}
    assert not message.acknowledged


def test_an_envelope_of_kombu_s_is_a_message_of_kombu_s() -> None:
    message = received(dumps(envelope()).encode())
    assert (message.body, message.content_type, message.headers) == (b"aGk=", "text/plain", {"who": "me"})
    assert message.delivery_tag == 7, "the tag is the number under which the message was fetched"
    assert message.delivery is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON",
        b'["properties"]',
        b'"properties"',
        b'{"properties": 1, "body": "x"}',
        b'{"properties": {}, "body": 1}',
        b'{"properties": {}}',
        b'{"Name": "add", "properties": {}, "body": "x"}',
        b'{ "UUID": "t", "properties": {}, "body": "x"}',
        b'{"UUID":"t","properties": {}, "body": "x"}',
        b'{"properties": {"body_encoding": "base64"}, "body": "x", "headers": 1}',
        b'{"properties": {}, "body": "\xff"}',
        b'{"properties": {"delivery_info": {"__type__": "datetime", "__value__": "never"}}, "body": "x"}',
        dumps(envelope(headers={"compression": "unheard of"})).encode(),
    ],
)
def test_anything_else_is_handed_on_as_bytes(body: bytes) -> None:
    """A task of another program, or damaged: a consumer decides."""
    message = received(body)
    assert (message.body, message.content_type, message.delivery_tag) == (body, SIGNATURE_CONTENT_TYPE, 7)
    assert message.errors == []
    assert message.delivery is not None


@given(st.binary() | st.from_regex(rb'\{"properties": ?\{.*\}, "body": ?".*"\}', fullmatch=True))
def test_no_bytes_keep_a_queue_from_being_read(body: bytes) -> None:
    message = received(body)
    assert message.delivery_tag == 7


def test_a_message_that_was_not_fetched_has_no_delivery() -> None:
    assert Message(envelope(), channel=Channel()).delivery is None


@given(st.binary())
def test_a_signature_is_sent_as_it_is(body: bytes) -> None:
    message = {"content-type": SIGNATURE_CONTENT_TYPE, "body": body, "properties": {"body_encoding": None}}
    assert to_item(message, Channel()) == body


def test_a_signature_of_text_is_sent_as_utf_8() -> None:
    message = {"content-type": SIGNATURE_CONTENT_TYPE, "body": "é", "properties": {"body_encoding": "base64"}}
    channel = Channel()
    assert to_item(message, channel) == "é".encode()
    assert channel.done == [("decode", "base64")]


def test_an_envelope_comes_back_as_it_was_sent() -> None:
    sent = Message(envelope(), channel=Channel())
    message = received(to_item(envelope(), Channel()))
    for name in ("body", "content_type", "content_encoding", "headers", "delivery_info"):
        assert getattr(message, name) == getattr(sent, name)


# -- credit


def qos(channel: Channel, prefetch: int) -> QoS:
    found = QoS(channel, prefetch)
    found._on_collect.cancel()  # it would put back at exit
    return found


@pytest.mark.parametrize(("prefetch", "held", "credit"), [(4, 0, 4), (4, 3, 1), (4, 4, 0), (4, 5, -1)])
def test_credit_is_the_prefetch_count_minus_unsettled_deliveries(
    prefetch: int, held: int, credit: int
) -> None:
    found = qos(Channel(held), prefetch)
    assert (found.credit(), found.can_consume()) == (credit, credit > 0)


def test_without_a_prefetch_count_one_call_takes_as_many_as_it_may() -> None:
    assert qos(Channel(held=1000), 0).credit() == 256


def test_kombu_s_verbs_settle_by_the_ledger() -> None:
    channel = Channel()
    found = qos(channel, 1)
    found.append(received(b""), 7)
    found.ack(7)
    found.reject(8)
    found.reject(9, requeue=True)
    assert found.restore_unacked() == []
    assert channel.done == [(7, "ack"), (8, "ack"), (9, "head"), "put back"]
    assert found.can_consume(), "nothing is counted but the unacked deliveries"
