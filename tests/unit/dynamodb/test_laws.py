"""Laws of values and items."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh.backends.dynamodb.items import (
    MAX_ITEM_BYTES,
    changes_of,
    expired,
    expiry,
    group_item,
    group_of,
    item_bytes,
    state_of,
)
from gearmesh.backends.dynamodb.values import from_attribute, to_attribute
from gearmesh.wire import types
from gearmesh.wire.state import PENDING, SUCCESS, GroupMeta, TaskResult, TaskState
from gearmesh.wire.typenames import INTEGERS

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def of_type(type: str) -> st.SearchStrategy[Any]:
    if type in INTEGERS:
        return st.integers(*INTEGERS[type])
    return {
        "bool": st.booleans(),
        "string": TEXT,
        "float32": st.floats(width=32, allow_nan=False, allow_infinity=False),
        "float64": st.floats(allow_nan=False, allow_infinity=False),
    }[type]


@st.composite
def results(draw: st.DrawFn) -> TaskResult:
    type = draw(st.sampled_from(sorted(types.TYPES)))
    if type in types.BYTES:
        return TaskResult("[]uint8", types.dump(type, draw(st.binary())))
    if types.is_slice(type):
        return TaskResult(type, types.dump(type, draw(st.lists(of_type(types.element(type)), max_size=5))))
    return TaskResult(type, types.dump(type, draw(of_type(type))))


def as_dynamodb_gives_it(value: Any) -> Any:
    """A value as it comes back: DynamoDB keeps numbers as numbers, with up to 38 digits, and prints them anew."""
    ((kind, given),) = value.items()
    if kind == "N":
        number = float(given)
        assert number == 0 or 1e-130 <= abs(number) < 1e126, "DynamoDB takes no other number"
        assert given != "-0", "DynamoDB knows no such number"
        return {"N": f"{number:.0f}" if number.is_integer() and "." not in given and "e" in given else given}
    if kind == "L":
        return {"L": [as_dynamodb_gives_it(each) for each in given]}
    if kind == "M":
        return {"M": {name: as_dynamodb_gives_it(each) for name, each in given.items()}}
    return value


@given(results())
def test_a_result_comes_back_as_it_was(result: TaskResult) -> None:
    read = from_attribute(as_dynamodb_gives_it(to_attribute(result)))
    assert (read.Type, bytes(read.Value)) == (result.Type, bytes(result.Value))


@given(st.lists(results(), max_size=3), TEXT)
def test_a_state_comes_back_as_it_was(returned: list[TaskResult], error: str) -> None:
    pending = TaskState(
        TaskUUID="task_x", TaskName=error, State=PENDING, CreatedAt="2026-01-02T03:04:05.678Z"
    )
    state = TaskState(TaskUUID="task_x", State=SUCCESS, Results=tuple(returned), Error=error)
    ((change,), refused) = changes_of([pending, state], 77)
    assert refused is None
    assert change.item is not None
    merged = msgspec.structs.replace(state, TaskName=error, CreatedAt=pending.CreatedAt)
    assert state_of(change.item) == merged


@given(st.lists(TEXT), st.booleans(), st.booleans())
def test_a_group_comes_back_as_it_was(members: list[str], triggered: bool, locked: bool) -> None:
    meta = GroupMeta(
        GroupUUID="group_x",
        TaskUUIDs=tuple(members),
        ChordTriggered=triggered,
        Lock=locked,
        CreatedAt="2026-01-02T03:04:05Z",
    )
    assert group_of(group_item(meta, 77)) == meta


@given(st.integers(1, 10**6), st.floats(0, 4e9))
def test_an_item_lives_as_long_as_it_should(seconds: int, now: float) -> None:
    item = {"TTL": {"N": str(expiry(seconds, now))}}
    assert not expired(item, math.nextafter(now + seconds, 0) - 0.001)
    assert expired(item, now + seconds + 1)


@pytest.mark.parametrize("item", [{}, {"TTL": {"N": "0"}}, {"TTL": {"S": ""}}, {"TTL": {"NULL": True}}])
def test_an_item_without_an_end_has_not_expired(item: Any) -> None:
    assert not expired(item)


def test_sizes_are_about_dynamodb_s() -> None:
    assert item_bytes({"TaskUUID": {"S": "é" * 10}}) == 8 + 20
    assert (
        item_bytes({"A": {"N": "1795271309"}, "B": {"NULL": True}, "C": {"B": b"abc"}})
        == 1 + 6 + 1 + 1 + 1 + 3
    )
    large = to_attribute(TaskResult("string", types.dump("string", "x" * MAX_ITEM_BYTES)))
    assert item_bytes({"Results": {"L": [large]}}) > MAX_ITEM_BYTES


def test_keys_that_dynamodb_has_not() -> None:
    for uuid in ("", "x" * 2049, "é" * 1025):
        changes, refused = changes_of([TaskState(TaskUUID=uuid, State=SUCCESS)], 77)
        assert changes == []
        assert refused is not None
        assert "2048" in refused.reason
