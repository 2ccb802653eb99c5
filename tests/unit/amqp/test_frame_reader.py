"""The bytes that RabbitMQ sends, cut into frames and put together to deliveries, however the network splits them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from amqp.exceptions import RecoverableConnectionError
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.amqp.parsing import BODY, HEADER, HEARTBEAT, METHOD, content_header, deliver, frame

from gearmesh.transports.amqp.frame_reader import INCOMPLETE, Frame, FrameReader, ReceivedMessage
from gearmesh.transports.amqp.frames import Delivered

#: basic.qos-ok, a method that has nothing to do with any delivery.
QOS_OK = b"\0\x3c\0\x0b"
#: basic.return: the content that follows it is no delivery.
RETURN = b"\0\x3c\0\x32\1\x38\x08NO_ROUTE\0\4jobs"

any_frames = st.lists(
    st.tuples(
        st.sampled_from([METHOD, HEADER, BODY, HEARTBEAT]), st.integers(0, 65_535), st.binary(max_size=300)
    ),
    max_size=12,
)


def read_all(reader: FrameReader, pieces: Iterable[bytes]) -> list[Frame]:
    """Feed the reader as a connection does: after each read, take all frames that are complete."""
    found: list[Frame] = []
    for piece in pieces:
        reader.feed(piece)
        while (taken := reader.next()) is not None:
            found.append(taken)
    return found


def deliveries(reader: FrameReader, frames: Iterable[Frame]) -> list[tuple[int, ReceivedMessage]]:
    """Put frames together; return each delivery with its channel's number, and leave out other methods."""
    found = []
    for kind, channel, payload in frames:
        whole = reader.delivery(kind, channel, payload)
        if whole:
            assert isinstance(whole, ReceivedMessage)
            found.append((channel, whole))
    return found


# -- bytes to frames


@given(any_frames, st.data())
def test_any_split_of_the_same_bytes_gives_the_same_frames(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(frame(*each) for each in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    reader = FrameReader()
    assert read_all(reader, pieces) == frames
    assert reader.next() is None


@given(any_frames)
def test_bytes_that_come_one_by_one_give_the_same_frames(frames: list[Frame]) -> None:
    stream = b"".join(frame(*each) for each in frames)
    assert read_all(FrameReader(), (stream[at : at + 1] for at in range(len(stream)))) == frames


def test_a_delivery_may_be_split_at_every_byte() -> None:
    parts = [deliver("t.1", 7), content_header(5), b"hel", b"lo"]
    frames = [(kind, 3, part) for kind, part in zip((METHOD, HEADER, BODY, BODY), parts, strict=True)]
    stream = b"".join(frame(*each) for each in frames)
    for cut in range(len(stream) + 1):
        assert read_all(FrameReader(), (stream[:cut], stream[cut:])) == frames


@given(any_frames, st.binary(max_size=7))
def test_several_frames_in_one_read_are_taken_one_by_one(frames: list[Frame], rest: bytes) -> None:
    reader = FrameReader()
    reader.feed(b"".join(frame(*each) for each in frames) + rest)
    for each in frames:
        assert reader.waiting
        assert reader.next() == each
    assert not reader.waiting
    assert reader.next() is None


@given(any_frames, st.data())
def test_reads_between_two_takes_add_up(frames: list[Frame], data: st.DataObject) -> None:
    """The connection also reads while frames are left from the last time."""
    stream = b"".join(frame(*each) for each in frames)
    reader, found = FrameReader(), list[Frame]()
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        reader.feed(stream[:size])
        stream = stream[size:]
        if data.draw(st.booleans()) and (taken := reader.next()) is not None:
            found.append(taken)
    assert found + read_all(reader, [b""]) == frames


@given(st.binary(max_size=40))
def test_a_frame_is_announced_exactly_when_one_can_be_taken(stream: bytes) -> None:
    """This holds for any bytes."""
    reader = FrameReader()
    reader.feed(stream)
    announced = reader.waiting
    try:
        taken = reader.next()
    except RecoverableConnectionError:
        assert announced, "the reader checks the end of a frame only when it takes it"
    else:
        assert announced is (taken is not None)


def test_a_frame_that_ends_in_the_wrong_place_breaks_the_connection() -> None:
    reader = FrameReader()
    good, bad = frame(METHOD, 1, QOS_OK), frame(METHOD, 1, QOS_OK)[:-1] + b"\xcd"
    reader.feed(good + bad[:-1])
    assert reader.next() == (METHOD, 1, QOS_OK)
    assert reader.next() is None, "its last byte is not here yet"
    reader.feed(bad[-1:] + good)
    for _ in range(2):  # nothing behind it is ever taken
        with pytest.raises(RecoverableConnectionError, match="ends in the wrong place"):
            reader.next()


# -- frames to deliveries


@st.composite
def channel_streams(draw: st.DrawFn) -> tuple[list[tuple[int, ReceivedMessage]], list[Frame]]:
    """Draw deliveries on three channels, and all frames in an order in which RabbitMQ may send them.

    Frames of other channels, heartbeats and other methods of the same channel come in between.
    """
    #: channel -> its frames, each with the delivery that it completes
    queues: dict[int, list[tuple[Frame, ReceivedMessage | None]]] = {}
    for channel in (1, 2, 3):
        frames = queues[channel] = []
        for tag in range(1, draw(st.integers(0, 3)) + 1):
            chunks = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4))
            properties = draw(st.binary(min_size=2, max_size=8))
            whole = ReceivedMessage(
                Delivered(f"t.{channel}", tag, tag == 2, "", "jobs"), properties, b"".join(chunks)
            )
            frames.append(((METHOD, channel, deliver(f"t.{channel}", tag, redelivered=tag == 2)), None))
            frames.append(((HEADER, channel, content_header(len(whole.body), properties)), None))
            frames += [((BODY, channel, chunk), None) for chunk in chunks]
            frames[-1] = frames[-1][0], whole
            if draw(st.booleans()):
                frames.insert(draw(st.integers(0, len(frames))), ((METHOD, channel, QOS_OK), None))
    stream: list[Frame] = []
    order: list[tuple[int, ReceivedMessage]] = []
    while any(queues.values()):
        channel = draw(st.sampled_from([number for number, frames in queues.items() if frames]))
        each, completed = queues[channel].pop(0)
        stream.append(each)
        if completed is not None:
            order.append((channel, completed))
        if draw(st.integers(0, 9)) == 0:
            stream.append((HEARTBEAT, 0, b""))
    return order, stream


@given(channel_streams())
def test_frames_of_several_channels_give_each_channel_its_deliveries(
    drawn: tuple[list[tuple[int, ReceivedMessage]], list[Frame]],
) -> None:
    expected, stream = drawn
    reader = FrameReader()
    assert deliveries(reader, read_all(reader, [b"".join(frame(*each) for each in stream)])) == expected


def test_a_body_in_several_frames_is_complete_with_the_last() -> None:
    reader = FrameReader()
    assert reader.delivery(METHOD, 1, deliver("t.1", 9, redelivered=True)) == INCOMPLETE
    assert reader.delivery(HEADER, 1, content_header(6, b"\x80\0\4text")) == INCOMPLETE
    assert reader.delivery(BODY, 1, b"ab") == INCOMPLETE
    assert reader.delivery(BODY, 1, b"cd") == INCOMPLETE
    assert reader.delivery(BODY, 1, b"ef") == ReceivedMessage(
        Delivered("t.1", 9, True, "", "jobs"), b"\x80\0\4text", b"abcdef"
    )
    assert reader.delivery(BODY, 1, b"gh") is None, "the body belongs to no delivery"


def test_an_empty_body_has_no_frame_of_its_own() -> None:
    reader = FrameReader()
    reader.delivery(METHOD, 1, deliver("t.1", 1))
    whole = reader.delivery(HEADER, 1, content_header(0))
    assert isinstance(whole, ReceivedMessage)
    assert whole.body == b""


def test_a_method_within_a_delivery_is_passed_on_and_does_not_end_it() -> None:
    reader = FrameReader()
    reader.delivery(METHOD, 1, deliver("t.1", 1))
    reader.delivery(HEADER, 1, content_header(4))
    reader.delivery(BODY, 1, b"ab")
    assert reader.delivery(METHOD, 1, QOS_OK) is None
    assert reader.delivery(METHOD, 2, QOS_OK) is None
    assert reader.delivery(HEARTBEAT, 0, b"") is None
    whole = reader.delivery(BODY, 1, b"cd")
    assert isinstance(whole, ReceivedMessage)
    assert whole.body == b"abcd"


def test_content_that_follows_another_method_is_no_delivery() -> None:
    """A message that is returned, or fetched with basic.get, is py-amqp's."""
    reader = FrameReader()
    for kind, payload in ((METHOD, RETURN), (HEADER, content_header(2)), (BODY, b"ab")):
        assert reader.delivery(kind, 1, payload) is None


def test_a_closed_channel_leaves_nothing_of_a_delivery_behind() -> None:
    reader = FrameReader()
    for channel in (1, 2):
        reader.delivery(METHOD, channel, deliver("t.1", channel))
        reader.delivery(HEADER, channel, content_header(4))
        reader.delivery(BODY, channel, b"ab")
    reader.drop(1)
    reader.drop(5)
    assert reader.delivery(BODY, 1, b"cd") is None
    whole = reader.delivery(BODY, 2, b"cd")
    assert isinstance(whole, ReceivedMessage), "the delivery of the other channel goes on"
    # The channel is opened again under its number.
    frames = [(METHOD, 1, deliver("t.2", 1)), (HEADER, 1, content_header(1)), (BODY, 1, b"x")]
    ((_, whole),) = deliveries(reader, frames)
    assert (whole.delivered.consumer_tag, whole.body) == ("t.2", b"x")
