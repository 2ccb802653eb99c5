"""AMQP frames without a server: py-amqp reads them, and acknowledgements cover the right deliveries."""

from __future__ import annotations

from struct import unpack_from
from typing import Any, cast

import amqp
import pytest
from amqp.serialization import loads
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.amqp.parsing import parse

from gearmesh.transports.amqp.delivery_tags import AckTracker
from gearmesh.transports.amqp.frames import (
    Delivered,
    OutgoingMessage,
    Writer,
    ack,
    nack,
    read_deliver,
    read_properties,
    table,
)

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
scalars = (
    st.none()
    | st.booleans()
    | st.text()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False)
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=8)


@given(st.dictionaries(names, values))
def test_tables_are_read_by_py_amqp(headers: dict[str, Any]) -> None:
    (read,), _ = loads("F", table(headers), 0)
    assert read == headers


def test_integers_have_the_type_they_are_given() -> None:
    assert table({"a": 1}) == b"\0\0\0\x07\x01aI\0\0\0\x01"
    assert table({"a": 1 << 40})[6:7] == b"l"
    with pytest.raises(TypeError, match="a table can't hold"):
        table({"a": object()})


@given(
    st.builds(
        OutgoingMessage,
        exchange=names,
        routing_key=names,
        body=st.binary(max_size=300),
        headers=st.none() | st.dictionaries(names, scalars),
        priority=st.integers(0, 300),
        expiration=st.sampled_from(["", "1000"]),
        transient=st.booleans(),
    ),
    st.integers(100, 400),
)
def test_a_published_message_is_read_by_py_amqp(message: OutgoingMessage, frame_max: int) -> None:
    frames = parse(Writer(7, frame_max).write(message))
    (kind, channel, method), header, *bodies = frames
    assert (kind, channel, method[:4]) == (1, 7, b"\0\x3c\0\x28")
    (_, exchange, key, mandatory), _ = loads("Bssb", method, 4)
    assert (exchange, key, bool(mandatory)) == (message.exchange, message.routing_key, True)
    read = amqp.Message()
    read.inbound_header(header[2])
    assert read.body_size == len(message.body)
    properties = dict(read.properties)
    assert properties == read_properties(header[2][12:])
    assert properties.pop("content_type") == "application/json"
    assert properties.pop("delivery_mode") == (1 if message.transient else 2)
    assert properties.pop("application_headers", None) == (message.headers or None)
    assert properties.pop("priority", 0) == min(message.priority, 255)
    assert properties.pop("expiration", "") == message.expiration
    assert not properties
    assert all(kind == 3 and len(body) <= frame_max - 8 for kind, _, body in bodies)
    assert b"".join(body for _, _, body in bodies) == message.body


@given(names, st.integers(1, 1 << 62), st.booleans(), names, names)
def test_a_delivery_is_read(tag: str, number: int, again: bool, exchange: str, key: str) -> None:
    short = [bytes((len(text.encode()),)) + text.encode() for text in (tag, exchange, key)]
    payload = b"\0\x3c\0\x3c" + short[0] + number.to_bytes(8, "big") + bytes((again,)) + short[1] + short[2]
    assert read_deliver(payload) == Delivered(tag, number, again, exchange, key)


def test_names_have_255_bytes() -> None:
    with pytest.raises(ValueError, match="AMQP allows 255"):
        Writer(1, 1000).write(OutgoingMessage("", "é" * 128, b""))


@given(st.integers(1, 30), st.data())
def test_the_tracker_settles_the_given_tags_and_no_others(count: int, data: st.DataObject) -> None:
    """Acks cover many tags at once if the order allows, and never a tag that is returned to the queue."""
    tags = AckTracker(cast(Any, None), cast(Any, None), 3)
    open_tags = list(range(1, count + 1))
    for tag in open_tags:
        tags.delivered(tag)
    while open_tags:
        part = data.draw(st.lists(st.sampled_from(open_tags), min_size=1, unique=True))
        split = data.draw(st.integers(0, len(part)))
        acks, nacks = part[:split], part[split:]
        server = {"ack": set[int](), "nack": set[int]()}
        left = set(open_tags)
        for kind, channel, payload in parse(tags.settle(acks, nacks)):
            assert (kind, channel) == (1, 3)
            word = {b"\0\x3c\0\x50": "ack", b"\0\x3c\0\x78": "nack"}[payload[:4]]
            tag, bits = unpack_from(">QB", payload, 4)
            meant = {each for each in left if each <= tag} if bits & 1 else {tag}
            assert meant <= left, "RabbitMQ closes the channel for a tag it does not know"
            assert meant, "and for a multiple one that means none"
            assert bool(bits & 2) is (word == "nack")
            server[word] |= meant
            left -= meant
        assert server == {"ack": set(acks), "nack": set(nacks)}
        open_tags = sorted(left)


def test_all_in_order_are_one_frame() -> None:
    tags = AckTracker(cast(Any, None), cast(Any, None), 1)
    for tag in range(1, 1001):
        tags.delivered(tag)
    assert tags.settle(range(1, 1000)) == ack(1, 999, multiple=True)
    assert tags.settle([], [1000]) == nack(1, 1000)
