"""Values to Go types and back, beyond the recordings."""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.shown import shown

from gearmesh.errors import LocalProtocolError, RemoteProtocolError
from gearmesh.wire import loading, types
from gearmesh.wire.gojson import floats
from gearmesh.wire.gojson.canonical import canonical
from gearmesh.wire.gojson.floats import float32_text, float64_text, to_float32
from gearmesh.wire.signature import Arg, Signature
from gearmesh.wire.state import TaskResult

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
FLOATS32 = st.floats(allow_nan=False, allow_infinity=False, width=32)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "string": TEXT,
    "float64": FLOATS,
    "float32": FLOATS32,
    **{name: st.integers(low, high) for name, (low, high) in types.INTEGERS.items()},
}


def typed(names: Sequence[str] = sorted(types.TYPES)) -> st.SearchStrategy[tuple[str, Any]]:
    def values(name: str) -> st.SearchStrategy[Any]:
        if name in types.BYTES:
            return st.binary()
        return st.lists(SCALARS[name[2:]]) if types.is_slice(name) else SCALARS[name]

    return st.sampled_from(names).flatmap(lambda name: st.tuples(st.just(name), values(name)))


@given(typed())
def test_a_dumped_value_is_loaded_unchanged(pair: tuple[str, Any]) -> None:
    name, value = pair
    raw = types.dump(name, value)
    back = types.load(name, raw)
    assert repr(back) == repr(value)  # tells -0.0 from 0.0, True from 1
    assert canonical(bytes(raw)) == bytes(raw)


@given(st.sampled_from(sorted(types.TYPES)), st.binary(max_size=30))
@example("[]int64", b"[-0]")
@example("[]float64", b"[-0,-0.0]")
@example("[]uint8", b'"=="')
@example("[]uint8", b'"A==="')
@example("float64", b"1" * 5000)
@example("int64", b"1" * 5000)
def test_loading_is_refused_or_repeatable(name: str, text: bytes) -> None:
    try:
        raw = msgspec.Raw(canonical(text))
        value = types.load(name, raw)
    except RemoteProtocolError:
        return
    assert types.load(name, types.dump(name, value)) == value


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?", fullmatch=True)


@given(
    st.sampled_from(sorted({"bool", "string", "float64", *types.INTEGERS})),
    st.one_of(
        NUMBERS.map(str.encode),
        st.integers(-(2**65), 2**65).map(lambda n: b"%d" % n),
        TEXT.map(msgspec.json.encode),
        st.binary(max_size=20).map(lambda octets: b'"%b"' % octets),
        st.sampled_from([b"null", b"true", b"false", b"[]", b"{}", b'"\\ud800"', b'"\\ud83d\\ude00"']),
    ),
)
@example("uint8", b"-0")
@example("int64", b"-0")
@example("float64", b"-0")
@example("float64", b"-0.0e5")
@example("float64", b"-1e-999")
@example("float64", b"1e999")
@example("float64", b"12345678901234567890123")
@example("uint64", b"18446744073709551615")
@example("int64", b"1.0")
def test_quick_scalars_are_the_exact_ones(name: str, text: bytes) -> None:
    try:
        raw = msgspec.Raw(canonical(text))
    except RemoteProtocolError:
        return
    try:
        exact = repr(loading._exactly(name, raw))  # tells -0.0 from 0.0
    except RemoteProtocolError as refused:
        exact = f"refused: {refused}"
    try:
        quick = repr(types.load(name, raw))
    except RemoteProtocolError as refused:
        quick = f"refused: {refused}"
    assert quick == exact


@given(st.lists(st.one_of(st.integers(), FLOATS, st.booleans(), st.none(), TEXT, st.just([1])), min_size=1))
@example([2**64 - 1, 1])
@example([2**64])
def test_lists_are_read_as_their_elements_are(values: list[Any]) -> None:
    raw = msgspec.Raw(msgspec.json.encode(values))
    for name in ("int64", "int8", "uint64", "float64", "float32", "bool", "string"):
        try:
            one_by_one = [types.load(name, msgspec.Raw(msgspec.json.encode(value))) for value in values]
        except RemoteProtocolError:
            with pytest.raises(RemoteProtocolError):
                types.load(f"[]{name}", raw)
        else:
            assert repr(types.load(f"[]{name}", raw)) == repr(one_by_one)


@given(FLOATS)
def test_float64_text(value: float) -> None:
    text = float64_text(value)
    assert struct.pack("d", float(text)) == struct.pack("d", value)
    size = abs(value)
    assert ("e" in text) == (size != 0 and not 1e-6 <= size < 1e21)


@given(FLOATS32)
@example(2.0**-126)
@example(2.0**-149)
@example(3.4028234663852886e38)
@example(8388608.0)
def test_float32_text_is_shortest(value: float) -> None:
    text = float32_text(value)
    assert struct.pack("f", float(text)) == struct.pack("f", value)
    digits = text.split("e")[0].replace(".", "").strip("-0")
    if len(digits) > 1:
        shorter = f"{abs(value):.{len(digits) - 2}e}"
        assert abs(float(shorter)) > 3.4028235e38 or to_float32(float(shorter)) != abs(value)


@given(
    st.one_of(
        FLOATS32, st.floats(-1000, 1000, width=32), st.integers(-(10**6), 10**6).map(lambda n: n / 1000)
    )
)
@example(2.0**-126)
@example(2.0**-127)
@example(16777216.0)
def test_quick_float32_text_is_the_exact_one(number: float) -> None:
    value = to_float32(number)
    size = abs(value)
    if size:
        assert float(float32_text(size)) == floats._shortest32(size)


@given(st.integers(-126, 127))
def test_float32_at_powers_of_two_takes_the_nearest_of_the_shortest(power: int) -> None:
    value = Fraction(2) ** power
    text = float32_text(float(value))
    above = value * (1 + Fraction(1, 2**24))
    below = value * (1 - Fraction(1, 2**25))
    assert below <= Fraction(text) <= above


class Color(enum.IntEnum):
    RED = 3


class Name(str):
    __slots__ = ()


class Index:
    def __index__(self) -> int:
        return 7


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("int64", Color.RED, b"3"),
        ("uint8", Index(), b"7"),
        ("[]int64", [Color.RED, 1, Index()], b"[3,1,7]"),
        ("[]int64", range(3), b"[0,1,2]"),
        ("[]int64", (), b"[]"),
        ("string", Name("<x>"), b'"\\u003cx\\u003e"'),
        ("[]string", [Name("a"), "b&"], b'["a","b\\u0026"]'),
        ("float64", 3, b"3"),
        ("float64", Fraction(1, 4), b"0.25"),
        ("[]float64", [1, 0.5], b"[1,0.5]"),
        ("float32", 0.1, b"0.1"),
        ("float32", 16777217, b"16777216"),
        ("float64", 1e21, b"1e+21"),
        ("float64", 123456789012345680.0, b"123456789012345680"),
        ("[]byte", bytearray(b"hi"), b'"aGk="'),
        ("[]byte", memoryview(b"hi"), b'"aGk="'),
        ("[]uint8", [104, 105], b'"aGk="'),
        ("[]uint16", [1, 65535], b"[1,65535]"),
        ("uint64", 2**64 - 1, b"18446744073709551615"),
        ("[]uint64", [2**64 - 1], b"[18446744073709551615]"),
        ("[]bool", [True], b"[true]"),
    ],
    ids=shown,
)
def test_dump(name: str, value: Any, text: bytes) -> None:
    assert bytes(types.dump(name, value)) == text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("int64", True),
        ("int64", 1.0),
        ("int64", "1"),
        ("int64", None),
        ("int64", 2**63),
        ("int8", 128),
        ("uint8", -1),
        ("uint64", 2**64),
        ("[]int8", [1, 128]),
        ("[]int64", [True]),
        ("[]int64", [1, None]),
        ("[]int64", [[1]]),
        ("[]int64", "123"),
        ("[]int64", b"123"),
        ("[]int64", {1: 2}),
        ("[]int64", {1, 2}),
        ("[]int64", None),
        ("[]byte", "aGk="),
        ("[]byte", [256]),
        ("[]uint16", b"ab"),
        ("float64", math.nan),
        ("float64", -math.inf),
        ("float64", True),
        ("float64", "1"),
        ("float64", 2**53 + 1),
        ("float64", 10**400),
        ("float64", Fraction(1, 3)),
        ("float32", 3.5e38),
        ("[]float32", [1.0, 3.5e38]),
        ("[]float64", [1.0, math.nan]),
        ("string", b"x"),
        ("string", "\ud800"),
        ("[]string", ["a", "\udcff"]),
        ("[]string", "abc"),
        ("[]string", ["a", 1]),
        ("bool", 1),
        ("bool", None),
        ("[]bool", [1]),
        ("map[string]int", {}),
        ("byte", 1),
        ("Int64", 1),
        ("", 1),
    ],
    ids=repr,
)
def test_dump_refuses(name: str, value: Any) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        types.dump(name, value)
    assert name.removeprefix("[]") in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("[]int64", b'[1,"a"]', "a is not int64"),
        ("[]int64", b"[1,[2,{}]]", "[2 map[]] is not int64"),
        ("int64", b'{"b":1,"a":[null,true]}', "map[a:[<nil> true] b:1] is not int64"),
        ("[]int64", b"true", "reflect: call of reflect.Value.Len on bool Value"),
        ("[]string", b'{"a":1}', "reflect: call of reflect.Value.Index on map Value"),
        ("[]uint16", b'"A==="', "illegal base64 data at input byte 1"),
        ("[]byte", b'"cat.png"', "illegal base64 data at input byte 3"),
        ("[]byte", b'"AQIDBA"', "illegal base64 data at input byte 4"),
        ("[]byte", b'"AQI=AQI="', "illegal base64 data at input byte 4"),
        ("[]byte", b'"A\\nQ=\\n"', "illegal base64 data at input byte 5"),
        ("[]byte", b'"AQ=x"', "illegal base64 data at input byte 2"),
        ("float32", b"-3.5e38", 'strconv.ParseFloat: parsing "-3.5e38": value out of range'),
        ("int64", b"9" * 5000, "value out of range"),
        ("int8", b"[" * 9000 + b"]" * 9000, "is not int8"),
        ("[]int8", b"[" * 9000 + b"]" * 9000, "is not int8"),
        ("[]string", b"[" * 9000 + b"]" * 9000, "is not string"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_load_refuses(name: str, text: bytes, error: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        types.load(name, msgspec.Raw(text))
    assert error in str(caught.value)
    assert len(str(caught.value)) < 400


@given(st.text("AZaz09+/=_ \n", max_size=9))
def test_quick_base64_takes_nothing_that_the_exact_one_refuses(text: str) -> None:
    raw = msgspec.json.encode(text)
    try:
        quick = loading._read_bytes(raw)
    except msgspec.MsgspecError:
        return
    assert loading._unbase64(text.encode()) == quick


@given(
    st.sampled_from(["string", "float64", "bool", "int64", "uint8"]),
    st.one_of(st.text(), st.floats(), st.integers(-300, 300), st.integers(), st.booleans(), st.none()),
)
@example("string", "<a & b>\u2028\u2029\ud800")
@example("string", Name("text"))
@example("int64", Color.RED)
def test_a_writer_writes_as_dump_does(name: str, value: Any) -> None:
    try:
        expected = bytes(types.dump(name, value)).decode()
    except LocalProtocolError as refused:
        expected = f"refused: {refused}"
    try:
        written = bytes(types.writer(name)(value)).decode()
    except LocalProtocolError as refused:
        written = f"refused: {refused}"
    assert written == expected


@given(st.lists(FLOATS))
def test_quick_floats_are_the_exact_ones(values: list[float]) -> None:
    assert bytes(types.dump("[]float64", values)) == f"[{','.join(map(float64_text, values))}]".encode()


def test_base64_is_read_as_go_reads_it() -> None:
    for text, value in {
        b'"YWI=\\n"': b"ab",
        b'"Y\\r\\nWI="': b"ab",
        b'"YWJ="': b"ab",  # bits past the end are not looked at
        b'""': b"",
    }.items():
        assert types.load("[]byte", msgspec.Raw(text)) == value
    assert types.load("[]uint32", msgspec.Raw(b'"AQID"')) == [1, 2, 3]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (True, "bool"),
        (1, "int64"),
        (1.5, "float64"),
        ("x", "string"),
        (b"x", "[]byte"),
        (bytearray(b"x"), "[]byte"),
        ([1, 2], "[]int64"),
        ((1.5,), "[]float64"),
        (["x"], "[]string"),
        ([True, False], "[]bool"),
    ],
    ids=repr,
)
def test_infer(value: Any, name: str) -> None:
    assert types.infer(value) == name
    assert types.load(name, types.dump(name, value)) is not None


@pytest.mark.parametrize("value", [None, [], (), {}, {1}, [1, 2.5], [1, True], [[1]], [b"x"], 1j], ids=repr)
def test_infer_refuses_values_without_a_go_type(value: Any) -> None:
    with pytest.raises(LocalProtocolError, match="cannot infer a Go type"):
        types.infer(value)


def test_args_and_results() -> None:
    one = types.arg("[]byte", b"hi", "data")
    assert one == Arg("data", "[]byte", msgspec.Raw(b'"aGk="'))
    assert types.result("[]byte", b"hi") == TaskResult("[]uint8", msgspec.Raw(b'"aGk="'))
    assert types.result("int8", 5) == TaskResult("int8", msgspec.Raw(b"5"))
    assert types.load_args(Signature(Args=(one, types.arg("int64", 2)))) == [b"hi", 2]
    assert types.load_args(Signature()) == []
    assert hash(one) == hash(types.arg("[]byte", b"hi", "data"))
    with pytest.raises(RemoteProtocolError, match="json is not one of supported types"):
        types.load_args(Signature(Args=(Arg("", "json"),)))
