"""The setting that names the tasks that Go runs."""

from __future__ import annotations

from typing import Any

import pytest

from gearmesh.celery.routes import GoTask, go_tasks
from gearmesh.errors import ConfigError


def test_a_task_is_given_by_its_queue_by_a_mapping_or_as_it_is() -> None:
    whole = GoTask("r", ("int64", "...string"), 2)
    assert go_tasks(
        {"a": "q", "b": {"queue": "q", "args": ["int64"], "retry_count": 1}, "c": whole, "d": {"queue": "q"}}
    ) == {"a": GoTask("q"), "b": GoTask("q", ("int64",), 1), "c": whole, "d": GoTask("q")}
    assert go_tasks({}) == {}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (["a"], r"go_tasks is \['a'\], expected a mapping"),
        (None, "go_tasks is None"),
        ({1: "q"}, "go_tasks: 1 is not a task name"),
        ({"": "q"}, "go_tasks: '' is not a task name"),
        (
            {"a": 1},
            r"go_tasks\['a'\] is 1, expected a queue's name or a mapping with queue, args, retry_count",
        ),
        ({"a": {}}, r"go_tasks\['a'\] is \{\}"),
        ({"a": {"queue": "q", "tries": 1}}, r"go_tasks\['a'\] is .*tries"),
        ({"a": ""}, r"go_tasks\['a'\]: queue is ''"),
        ({"a": {"queue": 1}}, r"go_tasks\['a'\]: queue is 1"),
        ({"a": {"queue": "q", "retry_count": -1}}, r"go_tasks\['a'\]: retry_count is -1"),
        ({"a": {"queue": "q", "retry_count": True}}, "retry_count is True"),
        ({"a": {"queue": "q", "retry_count": "2"}}, "retry_count is '2'"),
        ({"a": GoTask("q", ("unheard",))}, "go_tasks: .*'unheard'"),
    ],
)
def test_a_wrong_setting_names_the_task_and_the_value(setting: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        go_tasks(setting)
