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
#: Ends of the names of figures that the table of the task queues has.
IN_THE_TABLE = (
    ": work, tasks/s",
    ": delay() one by one, tasks/s",
    ": delay() one by one, CPU of the caller, µs",
    ": idle round trip p50, ms",
    ": idle round trip p99, ms",
)
#: Names on the page of figures whose own names are short.
PLAIN_NAMES = {
    "Machinery, 10 goroutines: publish, 10 goroutines": "Machinery: calls in 10 goroutines",
    "redis-py SET": "redis-py, for comparison: `SET`, one by one",
    "delay()": "gearmesh: `delay()`, one by one",
    "10 threads": "gearmesh: `delay()` in 10 threads",
    "one adelay() after another": "gearmesh: `await adelay()`, one by one",
    "50 coroutines": "gearmesh: `await adelay()` in 50 coroutines",
    "batches": "gearmesh: `publish_many()`",
    "Redis' CPU, publish": "CPU time of Redis to take a message from gearmesh",
    "Redis' CPU, work": "CPU time of Redis while gearmesh runs a task",
    "Redis' CPU, plain commands: publish": "CPU time of Redis for `SET` and `RPUSH`, for comparison",
    "Redis' CPU, plain commands: work": "CPU time of Redis for `LPOP` and `SET`, for comparison",
    "10,000 plain tasks": "gearmesh: time to send and run 10,000 tasks",
    "chord of 10,000": "gearmesh: time to send and run a chord of 10,000 tasks",
    "chord of 10,000: sending": "gearmesh: time to send a chord of 10,000 tasks",
    "backlog of 10,000": "gearmesh: work with 10,000 tasks in the queue",
    "backlog": "gearmesh: work with a large number of tasks in the queue",
    **{
        f"{way}, messages of {size}": f"gearmesh: {what} of messages with an argument of {size}"
        for size in ("100 B", "10 KB", "1 MB")
        for way, what in (("publish", "publishing"), ("work", "work"))
    },
    "chains of 10, steps/s": "gearmesh: steps of chains of 10",
    "work, threads, 1 process": "gearmesh: work of one worker, 10 threads",
    "work, threads, 2 processes": "gearmesh: work of two such workers",
    "work, asyncio": "gearmesh: work of one worker, 10 coroutines",
    "work, processes, 2": "gearmesh: work of one worker, 2 processes",
    "worker's memory, backlog": "gearmesh: most memory of the worker with a large number of tasks in the queue",
    "idle round trip p99.9": "gearmesh: round trip on an idle worker, p99.9",
    "half load: tasks sent": "gearmesh at half load: tasks that another process sends meanwhile",
    "half load: round trip p50": "gearmesh at half load: round trip, p50",
    "half load: round trip p99": "gearmesh at half load: round trip, p99",
    "half load: round trip p99.9": "gearmesh at half load: round trip, p99.9",
    "RabbitMQ: what it takes": "RabbitMQ, for comparison: a bare client sends prepared messages, with confirms",
    "RabbitMQ: one message after another by a bare client": "RabbitMQ, for comparison: a bare client, one by one, "
    "with confirms",
    "RabbitMQ: publish_many, no results": "RabbitMQ: gearmesh's `publish_many()`, without results",
    "RabbitMQ: delay(), results in Redis": "RabbitMQ: gearmesh's `delay()`, one by one, results in Redis",
    "RabbitMQ: delay(), no results": "RabbitMQ: gearmesh's `delay()`, one by one, without results",
    "RabbitMQ: work": "RabbitMQ: gearmesh's work",
    "RabbitMQ: Machinery: work": "RabbitMQ: Machinery's work",
    "RabbitMQ: Machinery: publish": "RabbitMQ: Machinery's publishing",
    "import gearmesh": "time of `import gearmesh` with its `App`",
    "worker: start to first result": "time from the start of a gearmesh worker to its first result",
}


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

    def place(self, contender: str, figure: str, *, without: str) -> float | None:
        """Return a contender's place by a figure, the largest first, among all contenders but one; None: the run has
        not measured it."""
        names = [name for name in self.values if name.endswith(f": {figure}")]
        rates = [self.median(name) or 0 for name in names if name != f"{without}: {figure}"]
        own = self.median(f"{contender}: {figure}")
        return None if own is None else 1.0 + sum(rate > own for rate in rates)


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
        "`tox -e bench` measures gearmesh beside other task queues. This page shows the last run, as",
        "`python tests/benchmarks/bench.py suite --write` has written it.",
        "",
        f"The run had {rounds} rounds. In each round, all task queues were measured one after another. Each number is",
        "the median of the rounds. A ratio was computed in each round, and the page shows the median of these ratios.",
        "",
        "Ratios are similar on other machines; rates and times are not. If other programs use the CPU during a run,",
        "each process waits longer for its turn. Single calls, round trips and starts then look slower than they are.",
        "The load average shows this: it is the mean number of processes that wanted to run. The instruction counts",
        "in [Performance](../why/performance.md) do not depend on other programs.",
        "",
        "| | |",
        "|---|---|",
        *machine(),
        f"| software | {versions()} |",
        f"| rounds | {rounds} |",
        "",
        "All figures of all rounds are in `figures.json` beside this page.",
        "",
        "## Targets",
        "",
        "The project has set itself these targets. A *multiple* of 2 means twice as much, and a *share* of 0.5 means",
        "half as much. *The same* means the quantity of the row above, compared with something else.",
        "",
        "| measured | target | found | |",
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
        "## More figures",
        "",
        "*One by one* means that a single thread makes the next call when the one before has returned. *At half load*",
        "means that another process sends tasks all the time, at half the rate at which this machine can send and run",
        "tasks at the same time.",
        "",
    ]
    lines += ["| measured | median | unit |", "|---|---|---|"]
    for name in figures.names():
        if name.endswith(IN_THE_TABLE):
            continue
        what, unit = described(name)
        lines.append(f"| {what} | {number(figures.median(name) or 0)} | {unit} |")
    (DOCS / "index.md").write_text("\n".join(lines) + "\n", "utf-8")


def described(name: str) -> tuple[str, str]:
    """Return a figure's name for the page, and its unit; a name without a unit is that of a rate."""
    what, _, unit = name.rpartition(", ")
    if unit not in ("tasks/s", "s", "ms", "µs", "MiB"):
        what, unit = name, "a second"
    return PLAIN_NAMES.get(what, what), "tasks a second" if unit == "tasks/s" else unit


def number(value: float) -> str:
    """Write a number with three or four digits that count, and never with an exponent."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def contenders(figures: Figures) -> list[str]:
    """The table of the task queues, the quickest worker first."""
    work = {
        name.removesuffix(": work, tasks/s"): figures.median(name) or 0
        for name in figures.names()
        if name.endswith(": work, tasks/s")
    }
    best = max(work, key=lambda each: work[each], default="")
    lines = [
        "Every task queue ran the task `add(n, 2)` on the same Redis and stored its results there.",
        "",
        "- **work**: tasks that one worker runs in a second. The queue is full when the worker starts. The time is",
        "  measured from 90 % to 10 % of the queue.",
        f"- **times slower**: the work of {best}, divided by the work of this row.",
        "- **calls**: calls in a second of a single thread, which makes them one after another. The caller and Redis",
        "  are bound to different processors. On the same one, each call would take half the time.",
        "- **CPU**: the CPU time that the caller's process needs for one of these calls, in µs.",
        "- **round trip**: ms from a call to its result, while the worker has nothing else to do. Half of the calls",
        "  are faster than the first number (p50), and 99 of 100 are faster than the second one (p99).",
        "",
        "| | work, tasks/s | times slower | calls/s | CPU, µs | round trip p50 / p99, ms |",
        "|---|---|---|---|---|---|",
    ]
    for name in sorted(work, key=lambda each: -work[each]):
        cells = [figures.median(f"{name}{what}") for what in IN_THE_TABLE[1:]]
        slower = figures.ratio(f"{best}: work, tasks/s", f"{name}: work, tasks/s") or 0
        calls, cpu, middle, tail = ("—" if cell is None else number(cell) for cell in cells)
        lines.append(f"| {name} | {work[name]:,.0f} | {slower:.1f} | {calls} | {cpu} | {middle} / {tail} |")
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
        ("calls", ": delay() one by one, tasks/s", "Calls a second of one thread (logarithmic)"),
        ("trips", ": idle round trip p50, ms", "Round trip on an idle worker, median, ms (logarithmic)"),
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
        axes.bar_label(bars, labels=[number(found[name]) for name in order], padding=3, fontsize=8)
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


def machine() -> list[str]:
    """Return the rows of the table that describe the day and the machine."""
    model = platform.processor() or platform.machine()
    for line in (
        Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    ):
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    load = os.getloadavg()[2]
    day = time.strftime("%Y-%m-%d")
    return [
        f"| day | {day} |",
        f"| machine | {os.cpu_count()} cores ({model}), which also ran the servers |",
        f"| load average of the last 15 minutes | {load:.1f} |",
    ]


def versions() -> str:
    found = [f"CPython {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    server = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=False).stdout
    if "v=" in server:
        version, allocator = (server.partition(f"{name}=")[2].split()[0] for name in ("v", "malloc"))
        found.insert(1, f"Redis {version} with {allocator}")
    return ", ".join(found)
