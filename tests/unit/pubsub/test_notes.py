"""The notes about messages that come back, and how long these wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gearmesh.transports.pubsub.message import clipped, number
from gearmesh.transports.pubsub.notes import MAX_PARK_S, MessageNotes, Note
from gearmesh.transports.pubsub.receiver import MAX_LEASE_S, lease_seconds


def test_each_parking_is_longer_up_to_half_a_minute() -> None:
    note = Note()
    pauses = [note.park() for _ in range(20)]
    assert pauses[:5] == [0.0, 1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == MAX_PARK_S
    assert note.parked_since > 0


def test_a_note_is_of_one_message_of_one_subscription() -> None:
    notes = MessageNotes()
    assert notes.find("s", "m1") is None
    notes.of("s", "m1").lost = True
    assert notes.of("s", "m1").lost
    assert notes.find("other", "m1") is None
    notes.drop("s", "m1")
    assert notes.find("s", "m1") is None


@given(st.floats(-1e6, 1e6))
def test_a_lease_is_never_shorter_than_the_wait_but_for_the_longest(seconds: float) -> None:
    lease = lease_seconds(seconds)
    assert 1 <= lease <= MAX_LEASE_S
    assert lease >= min(seconds, MAX_LEASE_S)
    assert lease < max(seconds, 0) + 1 or lease == 1


@given(st.text())
def test_an_attribute_of_any_program_is_read(text: str) -> None:
    assert number(text) >= 0
    assert number(None) == 0
    assert len(clipped(text * 50).encode()) <= 1024
