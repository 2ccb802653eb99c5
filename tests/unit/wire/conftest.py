"""Golden files: recordings made by Go, replayed case by case.

A test marked ``@pytest.mark.golden("file.jsonl")`` runs once for each line (or list element) of the
file, as ``case``. How many ran is reported at the end, and a whole run in which any was left out
fails.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parents[2] / "golden"
_RAN = pytest.StashKey[Counter[str]]()
_TOTAL = pytest.StashKey[dict[str, int]]()
_NARROWED = pytest.StashKey[list[str]]()


def read_golden(name: str) -> list[dict[str, Any]]:
    text = (GOLDEN / name).read_text(encoding="utf-8")
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in text.split("\n") if line]
    cases = json.loads(text)
    assert isinstance(cases, list)
    return cases


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "golden(file): runs once for each case of tests/golden/<file>")
    config.stash[_RAN] = Counter()
    config.stash[_TOTAL] = {}
    config.stash[_NARROWED] = []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("golden")
    if marker is not None:
        name = marker.args[0]
        cases = read_golden(name)
        metafunc.config.stash[_TOTAL][name] = len(cases)
        metafunc.parametrize("case", cases, ids=[str(case.get("case", n)) for n, case in enumerate(cases, 1)])


def pytest_deselected(items: list[pytest.Item]) -> None:
    if items:
        items[0].config.stash[_NARROWED].append(items[0].nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield
    marker = item.get_closest_marker("golden")
    if marker is not None:
        item.config.stash[_RAN][marker.args[0]] += 1  # it passed


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    narrowed = config.stash[_NARROWED] or config.option.collectonly or any("::" in arg for arg in config.args)
    if session.exitstatus == 0 and not narrowed and config.stash[_RAN] != config.stash[_TOTAL]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ran, total = config.stash[_RAN], config.stash[_TOTAL]
    for name, count in sorted(total.items()):
        terminalreporter.write_line(f"golden: {name}: {ran[name]} of {count} cases")
    if total:
        terminalreporter.write_line(f"golden: {sum(ran.values())} of {sum(total.values())} in all")
