from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from gearmesh.cli import main
from gearmesh.cli.local_redis import ServerMissing, find_redis_server


@pytest.fixture(autouse=True)
def _server(redis_server: object) -> None:
    """Skips, or fails under CI, where there is no Redis."""


def test_every_recorded_task_is_done_and_shown() -> None:
    result = CliRunner().invoke(main, ["demo"], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    rows = re.findall(r"│ *(\w+) *│ *((?:task|chord)_\S+) *│ *(\w+) *│ *(.*?) *│", result.stdout)
    assert [(name, state, outcome) for name, _, state, outcome in rows] == [
        ("add", "SUCCESS", "int64 3"),
        ("add", "SUCCESS", "int64 3"),
        ("add", "SUCCESS", "int64 13"),
        ("multiply", "SUCCESS", "int64 52"),
        ("add", "SUCCESS", "int64 1"),
        ("add", "SUCCESS", "int64 2"),
        ("add", "SUCCESS", "int64 3"),
        ("add", "SUCCESS", "int64 6"),
        ("fail", "FAILURE", "nope"),
        ("on_error", "SUCCESS", 'string "handled:nope"'),
    ]
    assert "10 of 10 tasks done" in result.stdout


def test_without_a_redis_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEARMESH_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("gearmesh.cli.local_redis.find_spec", lambda name: None)
    with pytest.raises(ServerMissing):
        find_redis_server()
    result = CliRunner().invoke(main, ["demo"])
    assert result.exit_code == 2
    assert "apt-get install redis-server" in result.stderr
