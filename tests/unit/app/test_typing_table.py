"""Annotations decide Go types: the table of the design, both ways."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, List, NewType, Optional, Sequence, Union  # noqa: UP035 - users write these

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh import App, LocalProtocolError, TaskError
from gearmesh.declarations import value_codec
from gearmesh.declarations.annotations import of_function, of_types
from gearmesh.declarations.declaration import ArgumentUnreadable, CallMismatch
from gearmesh.types import (
    Float32,
    Float64,
    Int,
    Int8,
    Int16,
    Int32,
    Int64,
    Json,
    Msgpack,
    Uint,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
)
from gearmesh.wire.signature import Arg, Signature
from gearmesh.wire.state import TaskResult


@dataclasses.dataclass
class Point:
    x: int
    y: float


UserId = NewType("UserId", int)


@pytest.mark.parametrize(
    ("annotation", "go"),
    [
        (bool, "bool"),
        (int, "int64"),
        (float, "float64"),
        (str, "string"),
        (bytes, "[]byte"),
        (Int, "int"),
        (Int8, "int8"),
        (Int16, "int16"),
        (Int32, "int32"),
        (Int64, "int64"),
        (Uint, "uint"),
        (Uint8, "uint8"),
        (Uint16, "uint16"),
        (Uint32, "uint32"),
        (Uint64, "uint64"),
        (Float32, "float32"),
        (Float64, "float64"),
        (list[int], "[]int64"),
        (List[str], "[]string"),  # noqa: UP006
        (Sequence[float], "[]float64"),
        (list[Int8], "[]int8"),
        (list[Uint8], "[]uint8"),
        (list[bool], "[]bool"),
        (UserId, "int64"),
        (Annotated[int, "a note for another library"], "int64"),
        (Annotated[Int8, "a note"], "int8"),
        (Json[dict[str, int]], "string"),
        (list[Json[Point]], "[]string"),
        (Msgpack[Point], "[]byte"),
        (Any, ""),
        ("uint16", "uint16"),
    ],
)
def test_annotation_to_go(annotation: Any, go: str) -> None:
    assert value_codec.of_annotation(annotation).go == go


@pytest.mark.parametrize(
    "annotation",
    [
        dict,
        dict[str, int],
        list,
        list[list[int]],
        list[bytes],
        list[dict[str, int]],
        Optional[int],  # noqa: UP045
        Union[int, str],  # noqa: UP007
        int | None,
        None,
        tuple[int, int],
        set[int],
        object,
        Point,
        complex,
        "map[string]int",
        Json[dict[str, int] | Point],
    ],
)
def test_registration_refuses_annotations_that_go_cannot_carry(annotation: Any) -> None:
    with pytest.raises(TaskError, match=r"annotation|Go type"):
        value_codec.of_annotation(annotation)


def test_a_refused_argument_is_one_error_without_a_chain(app: App) -> None:
    """The text says all, and three tracebacks would hide the caller's own line."""

    @app.task
    def pack(order: int) -> None: ...

    with pytest.raises(
        LocalProtocolError, match="argument 1 \\('order'\\) as int: 'seven' is not int64"
    ) as caught:
        pack.delay("seven")  # type: ignore[arg-type]
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


def test_a_refused_annotation_names_task_parameter_and_annotation(app: App) -> None:
    def store(key: str, value: dict[str, int]) -> None: ...

    with pytest.raises(
        TaskError, match=r"'store', parameter 'value': annotation dict\[str, int\] has no Go type"
    ):
        app.task(store)

    def look(key: str) -> set[int]: ...  # type: ignore[empty-body]

    with pytest.raises(TaskError, match=r"'look', result: annotation set\[int\]"):
        app.task(look)

    def later(key: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TaskError, match="'later': its annotations cannot be evaluated: name 'Missing'"):
        app.task(later)

    def by_name(*, key: str) -> None: ...

    with pytest.raises(
        TaskError, match="'by_name': parameter 'key' takes keywords only, but arguments are sent by position"
    ):
        app.task(by_name)

    def by_name_too(*, key: str = "") -> None: ...

    with pytest.raises(TaskError, match="'by_name_too': parameter 'key' takes keywords only"):
        app.task(by_name_too)

    def too_much(a: Uint8 = 300) -> None: ...

    with pytest.raises(TaskError, match="'too_much', default of parameter 'a' as Uint8: 300 "):
        app.task(too_much)

    def by_names(**keys: str) -> None: ...

    with pytest.raises(TaskError, match=r"'\*\*keys'"):
        app.task(by_names)


@pytest.mark.parametrize(
    ("annotation", "types"),
    [
        (None, ()),
        (int, ("int64",)),
        (tuple[int, str], ("int64", "string")),
        (tuple[bytes, list[int]], ("[]byte", "[]int64")),
        (Json[tuple[int, str]], ("string",)),
    ],
)
def test_return_annotation(annotation: Any, types: tuple[str, ...]) -> None:
    assert tuple(slot.go for slot in value_codec.results_of(annotation) or ()) == types


def test_return_of_any_length_or_unknown() -> None:
    assert value_codec.results_of(Any) is None
    with pytest.raises(TaskError, match="number of results"):
        value_codec.results_of(tuple[int, ...])


def values(go: str) -> st.SearchStrategy[Any]:
    bits = {"int8": (-128, 127), "uint8": (0, 255), "uint64": (0, 2**64 - 1), "int64": (-(2**63), 2**63 - 1)}
    if go in bits:
        return st.integers(*bits[go])
    return {
        "bool": st.booleans(),
        "float32": st.floats(width=32, allow_nan=False, allow_infinity=False),
        "float64": st.floats(allow_nan=False, allow_infinity=False),
        "string": st.text(st.characters(exclude_categories=["Cs"])),
        "[]byte": st.binary(),
    }[go]


SCALARS = ["bool", "int8", "uint8", "int64", "uint64", "float32", "float64", "string", "[]byte"]


@given(st.data())
def test_round_trip(data: st.DataObject) -> None:
    go = data.draw(st.sampled_from(SCALARS))
    value = data.draw(values(go))
    slot = value_codec.of_go(go)
    arg = slot.dump_arg(value)
    loaded = slot.load(arg.Type, arg.Value)
    assert (type(loaded), loaded) == (type(value), value)
    result = slot.dump_result(value)
    assert slot.load(result.Type, result.Value) == value


@given(st.lists(st.integers(0, 255)))
def test_list_of_uint8_is_a_list_again(numbers: list[int]) -> None:
    slot = value_codec.of_annotation(list[Uint8])
    assert slot.load("[]uint8", slot.dump_arg(numbers).Value) == numbers
    assert slot.load("[]byte", slot.dump_arg(bytes(numbers)).Value) == numbers


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-(2**63), 2**63 - 1)))
def test_structured_content(content: dict[str, int]) -> None:
    for annotation in (Json[dict[str, int]], Msgpack[dict[str, int]]):
        slot = value_codec.of_annotation(annotation)
        arg = slot.dump_arg(content)
        assert slot.load(arg.Type, arg.Value) == content


def test_structured_content_of_a_dataclass_and_in_a_list() -> None:
    slot = value_codec.of_annotation(list[Json[Point]])
    arg = slot.dump_arg([Point(1, 2.5)])
    assert bytes(arg.Value) == b'["{\\"x\\":1,\\"y\\":2.5}"]'
    assert slot.load(arg.Type, arg.Value) == [Point(1, 2.5)]
    with pytest.raises(LocalProtocolError, match=r"as Json\[Point\]"):
        value_codec.of_annotation(Json[Point]).dump_arg(object())


def sig(*args: tuple[str, str]) -> Signature:
    return Signature(Name="t", Args=tuple(Arg("", go, msgspec.Raw(value.encode())) for go, value in args))


def add(a: int, b: int = 5) -> int:
    return a + b


def many(first: str, *rest: int) -> None: ...


def loose(a, b=None):  # type: ignore[no-untyped-def]
    return a, b


def image(data: bytes) -> bytes:
    return data


@pytest.mark.parametrize(
    ("fn", "given_args", "expected"),
    [
        (add, [("int64", "1"), ("int64", "2")], [1, 2]),
        (add, [("int64", "1")], [1]),
        (many, [("string", '"x"')], ["x"]),
        (many, [("string", '"x"'), ("int64", "1"), ("int64", "2")], ["x", 1, 2]),
        (loose, [("uint8", "7"), ("string", '"x"')], [7, "x"]),
        (image, [("[]byte", '"AQI="')], [b"\x01\x02"]),
        (image, [("[]uint8", '"AQI="')], [b"\x01\x02"]),
    ],
)
def test_read_args(fn: Any, given_args: list[tuple[str, str]], expected: list[Any]) -> None:
    assert of_function("t", fn).read_args(sig(*given_args)) == expected


@pytest.mark.parametrize(
    ("fn", "given_args", "error", "text"),
    [
        (add, [], CallMismatch, "reflect: Call with too few input arguments"),
        (add, [("int64", "1")] * 3, CallMismatch, "reflect: Call with too many input arguments"),
        (add, [("string", '"1"'), ("int64", "1")], CallMismatch, "reflect: Call using string as type int64"),
        (add, [("int", "1")], CallMismatch, "reflect: Call using int as type int64"),
        (image, [("[]int64", "[1]")], CallMismatch, "reflect: Call using []int64 as type []uint8"),
        (
            many,
            [("string", '"x"'), ("string", '"y"')],
            CallMismatch,
            "reflect: cannot use string as type int64 in Call",
        ),
        (add, [("int64", '"x"')], ArgumentUnreadable, "Reflect task args error: x is not int64"),
        # Go: every argument is read before the call is tried.
        (
            add,
            [("string", '"x"'), ("int64", "1.5"), ("int64", "1")],
            ArgumentUnreadable,
            "Reflect task args error: ",
        ),
        (add, [("complex64", "1")], ArgumentUnreadable, "complex64 is not one of supported types"),
        (loose, [("int8", "128")], ArgumentUnreadable, "value out of range"),
    ],
)
def test_read_args_refuses(
    fn: Any, given_args: list[tuple[str, str]], error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        of_function("t", fn).read_args(sig(*given_args))
    assert text in str(caught.value)


def test_content_that_does_not_fit_is_unreadable() -> None:
    def store(point: Json[Point]) -> None: ...

    with pytest.raises(ArgumentUnreadable) as caught:
        of_function("store", store).read_args(sig(("string", '"{\\"x\\":\\"no\\",\\"y\\":1}"')))
    # This error has no prefix of Go's: Go can read the argument, which is a string to it.
    assert str(caught.value).startswith("task 'store', argument 1 ('point'): Json[Point]: Expected `int`")


def result(go: str, value: str) -> TaskResult:
    return TaskResult(go, msgspec.Raw(value.encode()))


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, 3, (result("int64", "3"),)),
        (None, None, ()),
        (tuple[int, str], (1, "s"), (result("int64", "1"), result("string", '"s"'))),
        (bytes, b"\x01", (result("[]uint8", '"AQ=="'),)),
        (Any, None, ()),
        (Any, 3, (result("int64", "3"),)),
        (Any, (1, "s"), (result("int64", "1"), result("string", '"s"'))),
        (float, 3, (result("float64", "3"),)),
        (list[int], [], (result("[]int64", "[]"),)),
        (Json[dict[str, int]], {"a": 1}, (result("string", '"{\\"a\\":1}"'),)),
    ],
)
def test_dump_results(annotation: Any, value: Any, expected: tuple[TaskResult, ...]) -> None:
    declaration = of_types("t", (), annotation)
    assert declaration.dump_results(value) == expected
    assert declaration.load_results(expected) == value


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (int, "3", "'3' is not int64"),
        (int, 2**63, "out of range"),
        (float, float("nan"), "nan is not float64"),
        (Int8, 128, "128 is not int8"),
        (int, None, "None is not int64"),
        (None, 3, "3, expected None"),
        (tuple[int, int], (1,), "expected a tuple of 2"),
        (tuple[int, int], 1, "expected a tuple of 2"),
        (Any, {"a": 1}, "dict"),
        (Any, [], r"\[\]"),
    ],
)
def test_a_result_that_cannot_be_encoded(annotation: Any, value: Any, text: str) -> None:
    with pytest.raises(LocalProtocolError, match=text) as caught:
        of_types("double", (), annotation).dump_results(value)
    assert "'double'" in str(caught.value)


def test_results_of_another_shape_than_declared_are_given_as_they_are() -> None:
    assert of_types("t", (), int).load_results((result("string", '"x"'),)) == "x"
    assert of_types("t", (), int).load_results(()) is None
    assert of_types("t", (), ()).load_results((result("int64", "1"), result("int64", "2"))) == (1, 2)
