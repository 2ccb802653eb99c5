"""A form writes the same bytes as the codec."""

from __future__ import annotations

import uuid

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gearmesh.errors import LocalProtocolError
from gearmesh.wire.codec import encode
from gearmesh.wire.signature import Arg, Signature
from gearmesh.wire.template import SignatureTemplate

from .test_codec import RAW, TEXT

NASTY = '%b","Value":null},"Args":[],\\"&<\u2028'


@given(TEXT, TEXT, st.lists(st.tuples(TEXT, RAW), max_size=3), st.uuids())
@example(NASTY, NASTY, [(NASTY, msgspec.Raw(b'"%s %%"')), (NASTY, msgspec.Raw(b"null"))], uuid.UUID(int=0))
@example("add", "machinery_task", [], uuid.UUID(int=1))
def test_form_law(name: str, queue: str, given: list[tuple[str, msgspec.Raw]], id: uuid.UUID) -> None:
    sig = Signature(
        UUID=f"task_{id}",
        Name=name,
        RoutingKey=queue,
        Args=tuple(Arg("", type, value) for type, value in given),
        Headers={},
    )
    form = SignatureTemplate(name, queue, [type for type, _ in given])
    assert form.fill(sig.UUID, [value for _, value in given]) == encode(sig)


@given(
    TEXT, st.lists(st.tuples(TEXT, RAW), max_size=3), st.integers(1, 2**31), TEXT, st.lists(RAW, max_size=2)
)
@example(NASTY, [("int64", msgspec.Raw(b"1"))], 2, NASTY, [msgspec.Raw(b"null")])
def test_form_of_a_group_law(
    name: str, given: list[tuple[str, msgspec.Raw]], count: int, callback: str, values: list[msgspec.Raw]
) -> None:
    body = Signature(UUID="chord_1", Name=callback, Args=tuple(Arg("", "string", each) for each in values))
    form = SignatureTemplate(name, "queue", [type for type, _ in given])
    for chord in (None, body):
        sig = Signature(
            UUID="task_1",
            Name=name,
            RoutingKey="queue",
            GroupUUID="group_1",
            GroupTaskCount=count,
            Args=tuple(Arg("", type, value) for type, value in given),
            Headers={},
            ChordCallback=chord,
        )
        member = form.in_group("group_1", count, chord)
        assert member.fill(sig.UUID, [value for _, value in given]) == encode(sig)


def test_a_name_that_go_could_not_read() -> None:
    with pytest.raises(LocalProtocolError):
        SignatureTemplate("\ud800", "q", [])
