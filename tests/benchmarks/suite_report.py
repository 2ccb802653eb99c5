"""The suite's figures, its targets, and the page and pictures that are made of them."""

from __future__ import annotations

import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[2] / "docs" / "benchmarks"
PACKAGES = (
    "gearmesh",
    "redis",
    "hiredis",
    "kombu",
    "celery",
    "dramatiq",
    "huey",
    "taskiq",
    "taskiq-redis",
    "arq",
    "rq",
)


class Figures:
    """Values by name, one a round."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def names(self) -> list[str]:
        return list(self.values)

    def median(self, name: str) -> float | None:
        """The median of the rounds; None: it was not measured."""
        found = self.values.get(name)
        return None if not found else statistics.median(found)

    def ratio(self, over: str, under: str) -> float | None:
        """The median of the rounds' ratios; None: one of them was not measured."""
        ones, others = self.values.get(over, []), self.values.get(under, [])
        ratios = [one / other for one, other in zip(ones, others, strict=False) if other]
        return statistics.median(ratios) if ratios else None

    def sum(self, *names: str) -> float | None:
        """The sum of medians; None: one of them was not measured."""
        found = [self.median(name) for name in names]
        return None if None in found else sum(value for value in found if value is not None)

    def first(self, suffix: str) -> Callable[[str], float | None]:
        """Return a function that tells a contender's place by the figure with this end, the largest first; Go aside."""
        rates = {
            name[: -len(suffix)]: self.median(name) or 0 for name in self.values if name.endswith(suffix)
        }
        order = sorted(rates, key=lambda name: -rates[name])
        return lambda name: float(order.index(name) + 1) if name in order else None


class Target(NamedTuple):
    """One aim and the figure that the run has measured; None: it has measured nothing."""

    what: str
    found: float | None
    bound: float
    least: bool
    form: str

    @property
    def met(self) -> bool | None:
        if self.found is None:
            return None
        return self.found >= self.bound if self.least else self.found <= self.bound

    def text(self) -> str:
        if self.found is None:
            return "not measured"
        return f"{self.found:{self.form}} ({'met' if self.met else 'not met'}, {self.aim()})"

    def aim(self) -> str:
        return f"{'at least' if self.least else 'at most'} {self.bound:,g}"


def write(figures: Figures, targets: list[Target], rounds: int) -> None:
    """Write ``docs/benchmarks``: a page, its pictures, and all figures as JSON."""
    DOCS.mkdir(parents=True, exist_ok=True)
    (DOCS / "figures.json").write_text(
        json.dumps(figures.values, indent=1, ensure_ascii=False) + "\n", "utf-8"
    )
    pictures = draw(figures)
    lines = [
        "# Benchmarks",
        "",
        "The last run of `tox -e bench`, or `python tests/benchmarks/bench.py suite --write`: all task queues take",
        f"turns in each of {rounds} rounds, the values are medians of the rounds, a ratio is the median of theirs.",
        "Ratios travel from machine to machine; rates do not. On a machine that is busy with other work, as the load",
        "average below may show, what waits for another process (a lone call, a round trip, a start) is more the",
        "scheduler's time than the task queue's. `tests/contract/test_redis_cost.py` and the instruction counts in",
        "[Performance](../why/performance.md) do not depend on it.",
        "",
        f"{machine()}. {versions()}. All figures are in `figures.json` beside this page.",
        "",
        "## Targets",
        "",
        "| | aimed at | measured | |",
        "|---|---|---|---|",
    ]
    for target in targets:
        found = "not measured" if target.found is None else f"{target.found:{target.form}}"
        verdict = "" if target.met is None else "met" if target.met else "**not met**"
        lines.append(f"| {target.what} | {target.aim()} | {found} | {verdict} |")
    lines += [
        "",
        "## Task queues on one Redis",
        "",
        *contenders(figures),
        "",
        *pictures,
        "## All medians",
        "",
    ]
    lines += ["| | |", "|---|---|"]
    for name in figures.names():
        lines.append(f"| {name} | {figures.median(name):,.4g} |")
    (DOCS / "index.md").write_text("\n".join(lines) + "\n", "utf-8")


def contenders(figures: Figures) -> list[str]:
    """The table of the task queues, the quickest worker first."""
    work = {
        name.removesuffix(": work, tasks/s"): figures.median(name) or 0
        for name in figures.names()
        if name.endswith(": work, tasks/s")
    }
    best = max(work, key=lambda each: work[each], default="")
    lines = [
        "`add(n, 2)` with its result kept. *Work* is a backlog that is there when the worker starts, between 90 % and",
        "10 % of it; *idle round trip* is one call after another, from the call to its result.",
        "",
        "| | call one by one, /s | work, /s | × slower | CPU of a call, µs | idle round trip p50 / p99, ms |",
        "|---|---|---|---|---|---|",
    ]
    for name in sorted(work, key=lambda each: -work[each]):
        cells = [figures.median(f"{name}: {what}") for what in (
            "delay() one by one, tasks/s", "delay() one by one, CPU of the caller, µs", "idle round trip p50, ms",
            "idle round trip p99, ms",
        )]  # fmt: skip
        slower = figures.ratio(f"{best}: work, tasks/s", f"{name}: work, tasks/s") or 0
        calls, cpu, middle, tail = ("—" if cell is None else f"{cell:,.4g}" for cell in cells)
        lines.append(f"| {name} | {calls} | {work[name]:,.0f} | {slower:.1f} | {cpu} | {middle} / {tail} |")
    return lines


def draw(figures: Figures) -> list[str]:
    """Draw the pictures if matplotlib is there; return the lines that show them."""
    try:
        pyplot = importlib.import_module("matplotlib.pyplot")
        importlib.import_module("matplotlib").use("svg")
    except ImportError:
        print("matplotlib is not installed: no pictures", file=sys.stderr)
        return []
    lines = []
    for file, suffix, title in (
        ("work", ": work, tasks/s", "Tasks a second of one worker (logarithmic)"),
        ("calls", ": delay() one by one, tasks/s", "Calls a second, one by one (logarithmic)"),
        ("trips", ": idle round trip p50, ms", "Idle round trip, ms, median (logarithmic)"),
    ):
        found = {
            name.removesuffix(suffix): figures.median(name) or 0
            for name in figures.names()
            if name.endswith(suffix)
        }
        if not found:
            continue
        order = sorted(found, key=lambda name: found[name], reverse=file == "trips")
        figure, axes = pyplot.subplots(figsize=(7, 0.4 * len(order) + 1))
        colours = ["#2a6f97" if name.startswith("gearmesh") else "#a9b4bd" for name in order]
        bars = axes.barh(order, [found[name] for name in order], color=colours)
        axes.bar_label(bars, fmt="{:,.3g}", padding=3, fontsize=8)
        axes.set_xscale("log")
        axes.set_title(title, fontsize=10)
        axes.margins(x=0.15)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        figure.tight_layout()
        figure.savefig(DOCS / f"{file}.svg", metadata={"Date": None})
        pyplot.close(figure)
        lines += [f"![{title}]({file}.svg)", ""]
    return lines


def machine() -> str:
    model = platform.processor() or platform.machine()
    for line in (
        Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    ):
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    load = os.getloadavg()[2]
    day = time.strftime("%Y-%m-%d")
    cores = f"{os.cpu_count()} cores ({model}), which also run the servers"
    return f"{day}, {cores}; load average of the last 15 minutes {load:.1f}"


def versions() -> str:
    found = [f"CPython {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    server = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=False).stdout
    if "v=" in server:
        found.insert(1, f"Redis {server.partition('v=')[2].split()[0]}")
    return ", ".join(found)
