"""Golden files: recordings made by Go, replayed case by case.

A test marked ``@pytest.mark.golden("file.jsonl")`` runs once for each line (or list element) of the
file, as ``case``. The run reports the number of cases at its end, and a whole run fails if it left
out a case (see ``tests/account.py``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.account import Account

GOLDEN = Path(__file__).parents[2] / "golden"


def read_golden(name: str) -> list[dict[str, Any]]:
    text = (GOLDEN / name).read_text(encoding="utf-8")
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in text.split("\n") if line]
    cases = json.loads(text)
    assert isinstance(cases, list)
    return cases


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "golden(file): runs once for each case of tests/golden/<file>")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("golden")
    if marker is not None:
        name = marker.args[0]
        cases = read_golden(name)
        Account.of(metafunc.config).total[name] = len(cases)
        metafunc.parametrize("case", cases, ids=[str(case.get("case", n)) for n, case in enumerate(cases, 1)])
