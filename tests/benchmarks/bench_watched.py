"""Workers that are watched: with history, remote control, metrics, the dashboard open; beside one that is not.

The workers take turns in one run, in another order each time. On a machine with other work the rates of a run differ by
a factor of two, so the CPU time of a task counts, too: the worker's, and that of Redis, which the dashboard also asks.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode

import psutil
import redis
from bench_report import report
from draining import drained
from worker_process import worker_process

from gearmesh import App

STAGE = "bench_stage"
#: Seconds between two looks of a browser that has a page open.
LOOK_INTERVAL_S = 2.0
#: Seconds for which only the dashboard asks Redis.
MEASURED_VIEWS_S = 10.0
TOKEN = "a token of the benchmark"
#: The ways, and the ratio to the first one that is aimed at.
WAYS = {"plain": 1.0, "history": 0.95, "control": 0.95, "default": 0.95, "counted": 0.95, "looked_at": 0.97}
#: Of each way, the settings that are on.
ON = {
    "history": "history",
    "control": "control",
    "default": "history,control",
    "counted": "history,control",
    "looked_at": "",
}


class WatchedBench:
    """Runs the same tasks on workers of one Redis, one for each way."""

    def __init__(self, url: str, tasks: int, rounds: int) -> None:
        self.url, self.tasks, self.rounds = url, tasks, rounds
        self.redis = redis.Redis.from_url(url)
        self.app = App(broker=url, backend=url)
        self.add = self.app.remote("add", "int64", "int64", results="int64")
        self.looking = threading.Event()
        self.views = 0

    def run(self) -> None:
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        costs: dict[str, list[float]] = {way: [] for way in WAYS}
        with ExitStack() as stack:
            workers = {way: stack.enter_context(self.worker(way)) for way in WAYS}
            stack.enter_context(self.dashboard())
            order = list(WAYS)
            for number in range(self.rounds):
                for way in order[number % len(order) :] + order[: number % len(order)]:
                    rate, cost = self.turn(way, workers[way])
                    rates[way].append(rate)
                    costs[way].append(cost)
            view_ms = self.view_cost()
        for way, aim in WAYS.items():
            low = statistics.quantiles(costs[way], n=4)[0]
            paired = statistics.median(a / b for a, b in zip(rates[way], rates["plain"], strict=True))
            cpu = statistics.median(b / a for a, b in zip(costs[way], costs["plain"], strict=True))
            cost_us = f"{statistics.median(costs[way]):.1f} us of CPU a task (lower quartile {low:.1f})"
            text = f"{statistics.median(rates[way]):,.0f} /s, {cost_us}"
            report(way, text)
            if way != "plain":
                report("  to plain, rate and CPU", f"{paired:.2f}, {cpu:.2f} (aim {aim})")
        report("page views meanwhile", str(self.views))
        report("a page view, CPU of Redis", f"{view_ms:.1f} ms")
        report("three open pages, of Redis' core", f"{view_ms * 3 / LOOK_INTERVAL_S / 10:.2f}%")

    def view_cost(self) -> float:
        """Milliseconds of Redis' CPU for one page view, while no task runs."""

        def used() -> float:
            info = self.redis.info("cpu")
            return float(info["used_cpu_user"] + info["used_cpu_sys"])

        views, before = self.views, used()
        self.looking.set()
        time.sleep(MEASURED_VIEWS_S)
        self.looking.clear()
        return (used() - before) / max(1, self.views - views) * 1000

    def turn(self, way: str, child: psutil.Process) -> tuple[float, float]:
        """Tasks a second, and microseconds of CPU a task: of the worker and of Redis."""
        self.redis.flushall()  # a larger database would make the later turns slower
        for base in range(0, self.tasks, 1000):
            self.app.publish_many([self.add.s(base + n, 2).set(queue=STAGE) for n in range(1000)])
        if way == "looked_at":
            self.looking.set()
            time.sleep(0.2)
        before, start = self.cpu(child), time.perf_counter()
        self.redis.rename(STAGE, way)
        while not drained(self.redis, way):
            time.sleep(0.01)
        took = time.perf_counter() - start
        cost = (self.cpu(child) - before) / self.tasks * 1e6
        self.looking.clear()
        return self.tasks / took, cost

    def cpu(self, child: psutil.Process) -> float:
        """Seconds of CPU that the worker and Redis have used."""
        info = self.redis.info("cpu")
        times = child.cpu_times()
        return float(info["used_cpu_user"] + info["used_cpu_sys"] + times.user + times.system)

    @contextmanager
    def worker(self, way: str) -> Iterator[psutil.Process]:
        more = ["--metrics-port", "0"] if way == "counted" else []
        on = ON.get(way, "")
        options = ("-Q", way, "-c", "10", *more)
        with worker_process(self.url, *options, log_level="ERROR", GEARMESH_BENCH_WATCHED=on) as process:
            self.add.s(1, 2).set(queue=way).delay().get(timeout=60)
            (child,) = psutil.Process(process.pid).children()
            yield child

    @contextmanager
    def dashboard(self) -> Iterator[None]:
        """The dashboard, and browsers with three of its pages open, which look while :attr:`looking` is set."""
        ended = threading.Event()
        with tempfile.TemporaryDirectory() as folder:
            token = Path(folder, "token")
            token.write_text(TOKEN)
            command = [
                sys.executable,
                "-m",
                "gearmesh",
                "dashboard",
                "--broker",
                self.url,
                "--backend",
                self.url,
            ]
            process = subprocess.Popen(
                [*command, "--port", "0", "--token-file", str(token)], stderr=subprocess.PIPE, text=True
            )
            assert process.stderr is not None
            base = next(line for line in process.stderr if "http://" in line).split()[-1]
            paths = ("/", "/queue?name=looked_at", "/workers")
            viewers = [threading.Thread(target=self.view, args=(base, path, ended)) for path in paths]
            for viewer in viewers:
                viewer.start()
            try:
                yield
            finally:
                ended.set()
                for viewer in viewers:
                    viewer.join()
                process.terminate()
                process.wait(30)

    def view(self, base: str, path: str, ended: threading.Event) -> None:
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        browser.open(f"{base}/sign-in", urlencode({"token": TOKEN}).encode()).read()
        while not ended.is_set():
            if self.looking.is_set():
                browser.open(base + path).read()
                self.views += 1
                ended.wait(LOOK_INTERVAL_S)
            else:
                ended.wait(0.05)
