"""Hidden values, in arguments, JSON and texts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh.web.masking import HIDDEN, Masker
from gearmesh.web.messages import argument_rows, header_rows, message_row, payload_text
from gearmesh.web.settings import DEFAULT_MASK
from gearmesh.wire.codec import encode
from gearmesh.wire.signature import Arg, Signature
from gearmesh.wire.types import arg

MASKER = Masker(DEFAULT_MASK, {"login": ["user", "password"]})
SECRET = "hunter2 with, a } space"


@pytest.mark.parametrize(
    "text",
    [
        f'{{"password": "{SECRET}"}}',
        f'{{"user": {{"db_Password": "{SECRET}"}}}}',
        f'[{{"a": 1, "API_KEY": ["{SECRET}"]}}]',
        f'{{"secret": {{"deep": {{"deeper": "{SECRET}"}}}}}}',
        json.dumps(json.dumps({"token": SECRET})),
        json.dumps(json.dumps(json.dumps({"token": SECRET}))),
        json.dumps([json.dumps({"x": [{"authorization": SECRET}]})]),
        f'password="{SECRET}"',
        f"login failed: token='{SECRET}'",
        f'{{"token": ["{SECRET}", "{SECRET}',
        "client_secret=hunter2; expires=5",
        f'{{"password": "{SECRET}", cut off',
        f'{{\\"password\\": \\"{SECRET}\\", cut off',
        "redis://user:hunter2@host/0",
        "X-Api_Key: hunter2",
    ],
)
def test_secrets_go(text: str) -> None:
    assert "hunter2" not in MASKER.json_text(text)
    assert "space" not in MASKER.json_text(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"user": "ann", "n": 1.50, "big": 12345678901234567890}',
        "plain words",
        '"password"',
        "[1.0,2e5]",
        "passwords are fine",
    ],
)
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert MASKER.json_text(text) == text


def test_arguments_by_the_names_of_the_task_s_parameters() -> None:
    sig = Signature(
        UUID="task_1",
        Name="login",
        Args=(arg("string", "ann"), arg("string", SECRET)),
        Headers={"Authorization": arg("string", SECRET).Value, "trace": arg("string", "1").Value},
        OnSuccess=(
            Signature(Name="login", UUID="task_2", Args=(arg("string", "bob"), arg("string", SECRET))),
        ),
    )
    assert [each.value for each in argument_rows(sig, MASKER)] == ['"ann"', HIDDEN]
    assert header_rows(sig, MASKER) == [("Authorization", HIDDEN), ("trace", '"1"')]
    row = message_row(encode(sig), MASKER)
    payload = payload_text(encode(sig), MASKER)
    for text in (row.arguments, payload):
        assert "hunter2" not in text
        assert "ann" in text


def test_arguments_with_names_of_their_own() -> None:
    sig = Signature(Name="other", Args=(Arg("my_password", "string", arg("string", SECRET).Value),))
    assert argument_rows(sig, MASKER)[0].value == HIDDEN
    assert "hunter2" not in payload_text(encode(sig), MASKER)


def test_a_chain_that_is_too_deep_to_mask_is_not_shown() -> None:
    sig = Signature(Name="end", Args=(arg("string", '{"password": "hunter2"}'),))
    for _ in range(2000):
        sig = Signature(Name="step", OnSuccess=(sig,))
    assert "too deep" in payload_text(encode(sig), MASKER)


def test_bytes_that_are_no_signature() -> None:
    row = message_row(b"\xff<xss>", MASKER)
    assert not row.readable
    assert payload_text(b'\xff{"password": "hunter2"', MASKER).count("hunter2") == 0


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES, st.lists(st.sampled_from(["list", "dict", "text"]), max_size=5))
def test_a_value_under_a_secret_name_is_hidden_at_any_depth(value: Any, path: list[str]) -> None:
    mark = "s3cr3tmark"
    nested: Any = {"password": [mark, value, {"x": mark}]}
    for step in path:
        nested = (
            [nested, value] if step == "list" else {"k": nested} if step == "dict" else json.dumps(nested)
        )
    assert mark not in MASKER.json_text(json.dumps(nested))


@given(VALUES)
def test_a_value_without_secrets_is_not_changed(value: Any) -> None:
    assert Masker(["passwordthatisnowhere"]).value(value) == value or "://" in json.dumps(value)


def test_no_patterns_hide_no_names() -> None:
    assert Masker([]).json_text('{"password": "x"}') == '{"password": "x"}'
    assert not Masker(["", " "]).hides("password")
