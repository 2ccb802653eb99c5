from __future__ import annotations

from typing import Any

import pytest

from gearmesh.errors import ConfigError
from gearmesh.worker.options import WorkerOptions


def test_defaults() -> None:
    assert WorkerOptions() == WorkerOptions(concurrency=10, queues=None, lease=None, grace=30.0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("concurrency", 0),
        ("queues", ()),
        ("queues", ("a", "")),
        ("lease", 0.0),
        ("lease", float("inf")),
        ("grace", -1.0),
        ("log_level", "LOUD"),
        ("log_format", "xml"),
        ("pool", "fibers"),
        ("soft_limit", -1.0),
        ("hard_limit", float("nan")),
        ("hard_limit", 1.0),
        ("max_tasks_per_child", 0),
        ("max_memory_per_child", 0),
    ],
)
def test_a_wrong_option_names_itself(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{option} is .*, expected "):
        WorkerOptions(**{option: value})
