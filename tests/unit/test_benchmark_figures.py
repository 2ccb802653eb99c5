"""The figures of ``tox -e bench``, from which the page of the benchmarks is made."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

CALLS = "delay() one by one, tasks/s"


@pytest.fixture(scope="module")
def report() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "suite_report.py"
    spec = importlib.util.spec_from_file_location("suite_report", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_place_does_not_count_the_contender_that_is_left_out(report: ModuleType) -> None:
    figures = report.Figures()
    for name, rate in (("Machinery", 14_533.0), ("ours", 13_474.0), ("huey", 13_213.0)):
        figures.add(f"{name}: {CALLS}", rate)
    figures.add("huey: delay() one by one, CPU of the caller, µs", 99_999.0)

    assert figures.place("ours", CALLS, without="Machinery") == 1
    assert figures.place("huey", CALLS, without="Machinery") == 2
    assert figures.place("arq", CALLS, without="Machinery") is None
    assert figures.place("ours", CALLS, without="arq") == 2


def test_a_ratio_is_the_median_of_the_rounds(report: ModuleType) -> None:
    figures = report.Figures()
    for ours, theirs in ((10.0, 5.0), (30.0, 10.0), (4.0, 1.0)):
        figures.add("ours", ours)
        figures.add("theirs", theirs)

    assert figures.ratio("ours", "theirs") == 3
    assert figures.ratio("ours", "nobody's") is None
