"""The words of an announcement: UUIDs, those of failed tasks marked, or the state of a task that ended alone."""

from __future__ import annotations

from typing import Any

import pytest

from gearmesh.backends.announcement import hearing, split_words
from gearmesh.wire.codec import encode_state
from gearmesh.wire.state import FAILURE, STARTED, SUCCESS, TaskState


def state(word: str) -> TaskState:
    return TaskState(TaskUUID="task_1", TaskName="a name", State=word)


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("task_1 !task_2 task_3", [(["task_1", "task_3"], ["task_2"], ())]),
        ("{guid} task_2", [(["{guid}", "task_2"], [], ())]),
        (encode_state(state(SUCCESS)).decode(), [(["task_1"], [], [state(SUCCESS)])]),
        (encode_state(state(FAILURE)).decode(), [([], ["task_1"], [state(FAILURE)])]),
        (encode_state(state(STARTED)).decode(), []),
        ('{"TaskUUID":"task_1', []),
    ],
)
def test_words(text: str, heard: list[Any]) -> None:
    calls: list[Any] = []
    hearing(lambda succeeded, failed, states: calls.append((succeeded, failed, states)))(split_words(text))
    assert calls == heard
