"""``examples/migration``: one task moves from a Go stand-in to Python, step by step."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gearmesh.cli import main
from gearmesh.worker import Worker

EXAMPLE = Path(__file__).parents[3] / "examples" / "migration"
MODULES = ("app", "go_stand_in", "shop")


@pytest.fixture
def _in_example(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.chdir(EXAMPLE)
    monkeypatch.syspath_prepend(str(EXAMPLE))
    for name in MODULES:
        sys.modules.pop(name, None)
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


def shop(capsys: pytest.CaptureFixture[str]) -> str:
    """The line that the shop prints: how many of its 20 calls were answered rightly."""
    ran: dict[str, Any] = runpy.run_path("shop.py", run_name="__main__")
    ran["app"].close()
    return capsys.readouterr().out.strip()


@pytest.mark.usefixtures("_in_example")
def test_each_step_of_the_move(capsys: pytest.CaptureFixture[str]) -> None:
    go, python = import_module("go_stand_in").app, import_module("app").app
    with go, python:
        with Worker(go, concurrency=2):
            assert shop(capsys) == "20"
        command = "shadow app:app --tasks thumbnail --count 20 --least 20 --seconds 60"
        done = CliRunner().invoke(main, command.split(" "))
        assert done.exit_code == 0, done.output
        assert "thumbnail: ready to switch" in done.output
        assert "20 calls compared: 20 agreed" in done.output
        with Worker(go, concurrency=2), Worker(python, concurrency=2):
            assert shop(capsys) == "20"
        with Worker(python, concurrency=2):
            assert shop(capsys) == "20"
        with Worker(go, concurrency=2):  # and back
            assert shop(capsys) == "20"
    done = CliRunner().invoke(main, ["cutover", "app:app", "thumbnail"])
    assert "To go back" in done.output
