"""Celery's record of a task beside the state that Go reads."""

from __future__ import annotations

from typing import Any

import pytest
from kombu.utils.json import dumps

from gearmesh.celery.meta import error_text, read_meta, read_side, states_of, wire_state
from gearmesh.errors import BackendError, TaskFailed
from gearmesh.wire import types as wire
from gearmesh.wire.codec import decode_state, encode_state
from gearmesh.wire.state import FAILURE, PENDING, RECEIVED, STARTED, SUCCESS, TaskState


@pytest.mark.parametrize(
    ("status", "word"),
    [
        *((word, word) for word in (PENDING, RECEIVED, STARTED, SUCCESS, FAILURE)),
        ("REVOKED", FAILURE),
        ("REJECTED", FAILURE),
        ("RETRY", STARTED),
        ("PROGRESS", STARTED),
    ],
)
def test_go_sees_each_state_as_one_of_its_own(status: str, word: str) -> None:
    assert wire_state(status) == word


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE", "REVOKED", "RETRY", "PROGRESS"])
def test_celery_reads_back_its_own_record(status: str) -> None:
    record = {"status": status, "result": {"a": [1, None]}, "task_id": "t", "children": [], "traceback": None}
    results = (wire.result("int64", 1),)
    side, seen = (
        decode_state(encode_state(state)) for state in states_of("t", status, dumps(record), results, "boom")
    )
    assert side.TaskUUID == "t.celery"
    assert (seen.TaskUUID, seen.State) == ("t", wire_state(status))
    assert seen.Results == (results if status == "SUCCESS" else None)
    assert seen.Error == ("boom" if seen.State == FAILURE else "")
    assert read_meta("t", seen, side) == record


def test_a_state_that_go_has_written_since_is_the_newer_truth() -> None:
    side, _ = states_of("t", "RETRY", dumps({"status": "RETRY", "result": "old"}), None, "")
    state = TaskState(TaskUUID="t", State=SUCCESS, Results=(wire.result("int64", 7),), TaskName="add")
    found = read_meta("t", state, side)
    assert (found["status"], found["result"], found["name"], found["children"]) == ("SUCCESS", 7, "add", [])


@pytest.mark.parametrize(
    ("values", "result"), [([], None), ([("int64", 7)], 7), ([("int64", 7), ("string", "a")], [7, "a"])]
)
def test_the_results_of_a_go_task_are_one_value_or_a_list(values: list[Any], result: Any) -> None:
    state = TaskState(TaskUUID="t", State=SUCCESS, Results=tuple(wire.result(*each) for each in values))
    assert read_meta("t", state, None)["result"] == result


def test_the_failure_of_a_go_task_is_its_error() -> None:
    found = read_meta("t", TaskState(TaskUUID="t", State=FAILURE, Error="boom"), None)["result"]
    assert isinstance(found, TaskFailed)
    assert "boom" in str(found)


def test_an_unknown_task_is_pending() -> None:
    assert read_meta("t", None, None) == {"status": "PENDING", "result": None, "task_id": "t"}
    assert read_side(None) is None
    assert read_side(TaskState(TaskUUID="t", State=SUCCESS, Results=())) is None


@pytest.mark.parametrize("kind_and_value", [("string", "{"), ("string", "[]"), ("int64", 1)])
def test_a_damaged_record_is_an_error_that_names_it(kind_and_value: tuple[str, Any]) -> None:
    side = TaskState(TaskUUID="t.celery", State=SUCCESS, Results=(wire.result(*kind_and_value),))
    with pytest.raises(BackendError, match=r"state t\.celery is damaged, expected"):
        read_meta("t", TaskState(TaskUUID="t", State=SUCCESS), side)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"exc_type": "ValueError", "exc_message": ["a", 1]}, "ValueError: a, 1"),
        ({"exc_type": "ValueError", "exc_message": "a"}, "ValueError: a"),
        ({"exc_type": "ValueError", "exc_message": []}, "ValueError"),
        ({"exc_type": "ValueError", "exc_message": None}, "ValueError"),
        ("terminated", "terminated"),
        ("", "''"),
    ],
)
def test_an_exception_is_text_for_go(result: Any, text: str) -> None:
    assert error_text(result) == text
