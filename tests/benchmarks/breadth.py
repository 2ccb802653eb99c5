"""gearmesh's rates for messages of several sizes, chains, pools and two processes, and the tail of its round trips."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import redis
from bench_report import QUEUE
from redis_cost import running_worker, until_empty
from worker_process import worker_process

from gearmesh import App, chain

#: The sizes of an argument in bytes, and the part of the tasks that is sent with each.
SIZES = (("100 B", 100, 1), ("10 KB", 10_000, 4), ("1 MB", 1_000_000, 400))
#: The number of steps of a chain.
STEPS = 10
#: Round trips of which the 99.9th percentile is taken.
TRIPS = 1000
#: Options of ``gearmesh worker`` by the name of the figure, and how many workers run.
WORKERS: tuple[tuple[str, Sequence[str], int], ...] = (
    ("threads, 1 process", ("-c", "10"), 1),
    ("threads, 2 processes", ("-c", "10"), 2),
    ("asyncio", ("-c", "10", "--pool", "asyncio"), 1),
    ("processes, 2", ("-c", "2", "--pool", "processes"), 1),
)


class Breadth:
    """Measures the remaining parts of gearmesh, each once a turn."""

    def __init__(self, url: str, tasks: int) -> None:
        self.url, self.tasks = url, tasks
        self.redis = redis.Redis.from_url(url)
        self.app = App(broker=url, backend=url)
        self.add = self.app.remote("add", "int64", "int64", results="int64")
        self.length = self.app.remote("length", "string", results="int64")

    def turn(self) -> dict[str, float]:
        figures: dict[str, float] = {}
        with running_worker(self.url, self.app):
            for name, size, part in SIZES:
                figures |= self.payload(name, "x" * size, max(20, self.tasks // part))
            figures |= self.chains(max(10, self.tasks // 100))
            figures |= self.trips(min(TRIPS, self.tasks))
        for name, options, workers in WORKERS:
            figures[f"work, {name}, tasks/s"] = self.work(options, workers)
        self.redis.flushall()
        return figures

    def payload(self, name: str, text: str, count: int) -> dict[str, float]:
        calls = [self.length.s(text).set(queue="bench_stage") for _ in range(count)]
        start = time.perf_counter()
        self.app.publish_many(calls)
        published = count / (time.perf_counter() - start)
        return {
            f"publish, messages of {name}, tasks/s": published,
            f"work, messages of {name}, tasks/s": self._worked_off(count),
        }

    def chains(self, count: int) -> dict[str, float]:
        start = time.perf_counter()
        results = [
            chain(self.add.s(n, 1), *(self.add.s(1) for _ in range(STEPS - 1))).delay() for n in range(count)
        ]
        for n, result in enumerate(results):
            assert result.get(timeout=60) == n + STEPS
        return {"chains of 10, steps/s": count * STEPS / (time.perf_counter() - start)}

    def trips(self, count: int) -> dict[str, float]:
        times = []
        for n in range(count):
            start = time.perf_counter()
            self.add.delay(n, 2).get(timeout=30)
            times.append((time.perf_counter() - start) * 1000)
        times.sort()
        return {"idle round trip p99.9, ms": times[count * 999 // 1000]}

    def work(self, options: Sequence[str], workers: int) -> float:
        with ExitStack() as stack:
            for _ in range(workers):
                stack.enter_context(worker_process(self.url, *options))
            self._all_ready(workers)
            self._stage(self.tasks)
            return self._worked_off(self.tasks)

    def _all_ready(self, workers: int) -> None:
        """Wait until a task has run, and as many consumers wait for the queue as there are workers."""
        self.add.delay(1, 2).get(timeout=30)
        blocked: Any = 0
        while blocked < workers:
            time.sleep(0.01)
            blocked = self.redis.info("clients")["blocked_clients"]

    def _stage(self, count: int) -> None:
        for base in range(0, count, 1000):
            self.app.publish_many(
                [self.add.s(base + n, 2).set(queue="bench_stage") for n in range(min(1000, count - base))]
            )

    def _worked_off(self, count: int) -> float:
        start = time.perf_counter()
        self.redis.rename("bench_stage", QUEUE)
        return until_empty(self.redis, count, start)
