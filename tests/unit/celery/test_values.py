"""Values of Celery's JSON as Go's types, and back."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.json import dumps

from gearmesh.celery.results import declared, stored_results, to_json, typed_results
from gearmesh.celery.values import from_json, in_json, plain, rich, typed
from gearmesh.declarations.declaration import Declaration
from gearmesh.errors import LocalProtocolError
from gearmesh.wire import types as wire

# A dictionary of the program's own that looks like a marked value is read as one; that is Celery's rule, too.
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_values_of_messagepack_survive_as_json(value: Any) -> None:
    assert rich(json.loads(json.dumps(plain(value)))) == value


@given(st.binary())
def test_bytes_are_marked_as_celery_marks_them(octets: bytes) -> None:
    assert in_json(octets) == json.loads(dumps(octets))
    assert from_json(in_json(octets)) == octets


@pytest.mark.parametrize(
    "value",
    [
        {"__type__": "datetime", "__value__": "2024-01-01"},
        {"__type__": "bytes", "__value__": 1},
        {"__type__": "base64", "__value__": 1},
        {"__type__": "bytes"},
        {"__type__": "bytes", "__value__": "x", "more": 1},
        ["x"],
        "x",
        None,
    ],
)
def test_a_value_that_is_not_marked_bytes_is_as_it_is(value: Any) -> None:
    assert from_json(value) is value
    assert in_json(value) is value


def test_marked_bytes_are_read_at_any_depth() -> None:
    marked = in_json(b"\xff")
    assert rich([{"a": [marked]}, marked]) == [{"a": [b"\xff"]}, b"\xff"]
    assert plain([{"a": (b"\xff",)}, b"\xff"]) == [{"a": [marked]}, marked]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({1: 2}, "key 1 in a message, expected text"),
        ([{"a": {b"k": 1}}], "key b'k' in a message"),
        (msgspec.msgpack.Ext(1, b""), r"\(Ext\) in a message, expected a value that JSON has"),
    ],
)
def test_a_value_that_json_cannot_hold_is_refused(value: Any, said: str) -> None:
    with pytest.raises(LocalProtocolError, match=said):
        plain(value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "bool"),
        (2**63 - 1, "int64"),
        (-(2**63), "int64"),
        (2**63, "uint64"),
        (2**64 - 1, "uint64"),
        (1.5, "float64"),
        ("é", "string"),
        ({"__type__": "bytes", "__value__": "x"}, "[]byte"),
        ([1, 2], "[]int64"),
        (["a"], "[]string"),
        ([True], "[]bool"),
        (None, None),
        ([], None),
        ([1, "a"], None),
        ([1, True], None),
        ([2**63], None),
        ({"a": 1}, None),
        ([[1]], None),
        (2**64, None),
        (-(2**63) - 1, None),
        (float("inf"), None),
        (float("nan"), None),
        ([float("inf")], None),
        ("\ud800", None),
    ],
)
def test_an_argument_has_the_go_type_that_holds_exactly_its_value(value: Any, kind: str | None) -> None:
    found = typed(value)
    assert (found and found.Type) == kind
    if found is not None:
        assert wire.load(found.Type, found.Value) == from_json(value)


@pytest.mark.parametrize("text", ["abc", "a", "é"])
def test_marked_bytes_that_are_no_base64_are_refused_with_their_text(text: str) -> None:
    broken = {"__type__": "base64", "__value__": text}
    for convert in (from_json, typed, rich):
        with pytest.raises(LocalProtocolError, match=f"base64 value '{text}' cannot be read"):
            convert(broken)


# -- results


def test_results_are_typed_by_the_annotation() -> None:
    def run(x: int) -> tuple[float, str]:
        raise NotImplementedError

    def types(run: Any, value: Any) -> list[str]:
        return [result.Type for result in typed_results(declared("t", run), value)]

    assert types(run, (1, "a")) == ["float64", "string"]
    assert types(run, 3) == ["int64"], "annotated as one thing, returned as another"


@pytest.mark.parametrize("annotation", ["Unheard", "dict[int, set]", None])
def test_an_annotation_that_says_nothing_to_go_leaves_it_to_the_value(annotation: str | None) -> None:
    def run() -> Any:
        raise NotImplementedError

    run.__annotations__ = {} if annotation is None else {"return": annotation}
    declaration = declared("t", run)
    assert [result.Type for result in typed_results(declaration, (1, "a"))] == ["int64", "string"]
    assert typed_results(declaration, None) == ()


def test_a_result_without_a_go_type_is_stored_as_json_in_a_string() -> None:
    (result,) = stored_results(Declaration("t"), {"a": [1, None]})
    assert (result.Type, json.loads(wire.load("string", result.Value))) == ("string", {"a": [1, None]})
    with pytest.raises(LocalProtocolError):
        typed_results(Declaration("t"), {"a": 1})


def test_a_result_that_json_cannot_hold_is_refused() -> None:
    for value in (object(), {"a": object()}):
        with pytest.raises(LocalProtocolError, match="is not JSON"):
            to_json(value)
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(LocalProtocolError, match="is not JSON"):
        stored_results(Declaration("t"), endless)
