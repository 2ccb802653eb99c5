from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh.cli.arguments import read_typed
from gearmesh.errors import LocalProtocolError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("int64:1", 1),
        ("int8:-128", -128),
        ("uint64:18446744073709551615", 2**64 - 1),
        ("float64:1", 1.0),
        ("float64:-1e-7", -1e-7),
        ("string:", ""),
        ("string:a:b", "a:b"),
        ("bool:true", True),
        ("bool:false", False),
        ("[]int64:[1, 2]", [1, 2]),
        ("[]float64:[1, 2.5]", [1.0, 2.5]),
        ("[]string:[]", []),
        ("[]bool:[true]", [True]),
        ("[]byte:aGk=", b"hi"),
        ("[]uint8:", b""),
    ],
)
def test_typed_text(text: str, value: Any) -> None:
    typed = read_typed(text)
    assert typed == (text.split(":")[0], value)
    assert type(typed.value) is type(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hello", "no type, expected TYPE:VALUE such as int64:1 or string:hello"),
        ("int:1.0", "whole number"),
        ("int64:١", "whole number"),
        ("int64:1_000", "whole number"),
        ("float64:x", "expected a number such as 1.5, got 'x'"),
        ("bool:True", "true or false"),
        ("map:1", "unknown type 'map', expected one of "),
        ("[][]int64:[]", "unknown type"),
        ("[]int64:1", "expected a JSON array such as [1,2], got '1'"),
        ("[]string:a,b", 'expected a JSON array such as ["a","b"], got \'a,b\''),
        ("[]int64:[1", "JSON array"),
        ("[]float64:[NaN]", "JSON has no NaN"),
        ("[]byte:aGk", "base64"),
    ],
)
def test_read_typed_says_why_a_text_is_no_value(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("[", r"\[")):
        read_typed(text)


@pytest.mark.parametrize(
    "text",
    [
        "int8:128",
        "uint8:-1",
        "float64:nan",
        "float32:1e39",
        "[]int8:[1,300]",
        "[]int64:[true]",
        "[]int64:[1.5]",
    ],
)
def test_read_typed_refuses_values_that_go_could_not_hold(text: str) -> None:
    with pytest.raises(LocalProtocolError):
        read_typed(text)


@given(st.binary())
def test_bytes(value: bytes) -> None:
    assert read_typed(f"[]byte:{base64.b64encode(value).decode()}").value == value
