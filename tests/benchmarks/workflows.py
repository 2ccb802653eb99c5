"""A chord beside its plain tasks, and how the size of a backlog changes the rate."""

from __future__ import annotations

import statistics
import subprocess
import time
from contextlib import AbstractContextManager

import psutil
import redis
from bench_report import QUEUE
from redis_cost import running_worker, until_empty

from gearmesh import App, chord

#: A small backlog, and how many of them are measured before and after the large one.
FEW, TURNS_OF_FEW = 10_000, 5


class Workflows:
    """Sends chords and backlogs to one running worker."""

    def __init__(self, url: str, members: int) -> None:
        self.url, self.members = url, members
        self.redis = redis.Redis.from_url(url)
        self.app = App(broker=url, backend=url)
        self.add = self.app.remote("add", "int64", "int64", results="int64")
        self.count = self.app.remote("count", "int64", results="int64")

    def worker(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        return running_worker(self.url, self.app)

    def turn(self) -> dict[str, float]:
        start = time.perf_counter()
        self.app.publish_many([self.add.s(n, 2) for n in range(self.members)])
        until_empty(self.redis, self.members, start)
        plain = time.perf_counter() - start
        start = time.perf_counter()
        result = chord([self.add.s(n, 2) for n in range(self.members)], self.count.si(7)).delay()
        sent = time.perf_counter() - start
        assert result.get(timeout=60) == 7
        whole = time.perf_counter() - start
        self.redis.flushall()
        return {
            "10,000 plain tasks, s": plain,
            "chord of 10,000, s": whole,
            "chord of 10,000: sending, s": sent,
        }

    def backlogs(self, many: int, worker: subprocess.Popen[bytes]) -> dict[str, float]:
        """Tasks a second of a backlog of 10,000 and of a large one, and the memory that the worker then has used.

        A backlog of 10,000 takes a tenth of a second, so its rate is the median of some before and some after.
        """
        few = [self._backlog(FEW) for _ in range(TURNS_OF_FEW)]
        large = self._backlog(many)
        few += [self._backlog(FEW) for _ in range(TURNS_OF_FEW)]
        (child,) = psutil.Process(worker.pid).children()
        with open(f"/proc/{child.pid}/status") as status:
            peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        return {
            "backlog of 10,000, tasks/s": statistics.median(few),
            "backlog, tasks/s": large,
            "worker's memory, backlog, MiB": peak / 1024,
        }

    def _backlog(self, count: int) -> float:
        """Tasks a second of a queue that gets ``count`` tasks at once."""
        for base in range(0, count, FEW):
            self.app.publish_many([self.add.s(base + n, 2).set(queue="bench_stage") for n in range(FEW)])
        start = time.perf_counter()
        self.redis.rename("bench_stage", QUEUE)
        rate = until_empty(self.redis, count, start)
        self.redis.flushall()
        return rate
