"""Producers: one caller, ten threads, fifty coroutines, and where the time of a lone call goes.

All contenders take turns in one run, so that each round has the machine's mood; the ratios are medians of the rounds'.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import redis
from bench_report import report
from placing import apart

from gearmesh import App
from gearmesh.app.plan import Plan
from gearmesh.interfaces.commit import Commit

#: The numerator, the denominator, and the ratio that is aimed at.
REDIS_TARGETS = (
    ("delay()", "redis-py SET", 0.8),
    ("10 threads", "delay()", 5.0),
    ("50 coroutines", "batches", 0.5),
)
#: The ways that wait for one round trip after the other, in this thread.
LONE = ("redis-py SET", "delay()")
BODY = b"x" * 120


class ProducerBench:
    """Publishes to one Redis, with results kept."""

    def __init__(self, url: str, tasks: int, rounds: int) -> None:
        self.url, self.rounds, self.count = url, rounds, tasks // 10
        self.redis = redis.Redis.from_url(url)
        self.app = App(broker=url, backend=url)
        self.add = self.app.remote("add", "int64", "int64", results="int64")

    def turn(self) -> dict[str, float]:
        """Calls a second of each way, one after the other."""
        ways: dict[str, Callable[[int], object]] = {
            "redis-py SET": self.sets,
            "delay()": self.one_by_one,
            "10 threads": self.threads,
            "one adelay() after another": self.coroutine,
            "50 coroutines": self.coroutines,
            "batches": self.batches,
        }
        rates = {}
        for name, way in ways.items():
            way(100)
            with apart(self.redis) if name in LONE else nullcontext():
                start = time.perf_counter()
                way(self.count)
                rates[name] = self.count / (time.perf_counter() - start)
        return rates

    def run(self) -> None:
        rates: dict[str, list[float]] = {}
        for _ in range(self.rounds):
            for name, rate in self.turn().items():
                rates.setdefault(name, []).append(rate)
            self.redis.flushall()
        report("Producers, one Redis, results kept", "")
        for name, found in rates.items():
            report(f"  {name}", f"{statistics.median(found):,.0f} /s")
        for over, under, target in REDIS_TARGETS:
            ratio = statistics.median(a / b for a, b in zip(rates[over], rates[under], strict=True))
            report(
                f"  {over} / {under}",
                f"{ratio:.2f}  (target {target}: {'met' if ratio >= target else 'not met'})",
            )
        self.budget()

    # -- ways to publish

    def sets(self, count: int) -> None:
        for n in range(count):
            self.redis.set(f"bench:{n}", BODY, ex=3600)

    def one_by_one(self, count: int) -> None:
        for n in range(count):
            self.add.delay(n, 2)

    def threads(self, count: int) -> None:
        threads = [threading.Thread(target=self.one_by_one, args=(count // 10,)) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def coroutine(self, count: int) -> None:
        asyncio.run(self._calls(count))

    def coroutines(self, count: int) -> None:
        async def together() -> None:
            await asyncio.gather(*(self._calls(count // 50) for _ in range(50)))

        asyncio.run(together())

    async def _calls(self, count: int) -> None:
        for n in range(count):
            await self.add.adelay(n, 2)

    def batches(self, count: int) -> None:
        self.app.publish_many([self.add.s(n, 2) for n in range(count)])

    # -- the lone call

    def budget(self, count: int = 2000) -> None:
        """Report the parts of a lone call, each as the tenth percentile, which a busy machine changes least."""
        commits: list[Commit] = []
        publisher = self.app._publisher
        with publisher._pool.acquire() as connection:
            client: Any = connection.flusher()._channel.redis
        plan = timed(lambda n: Plan(self.app, time.time_ns()).add_one(self.add.s(n, 2)), count)
        send, publisher.send = publisher.send, lambda commits_, **how: commits.extend(commits_)  # type: ignore[method-assign]
        try:
            planned = timed(lambda n: self.add.delay(n, 2), count)
        finally:
            publisher.send = send  # type: ignore[method-assign]
        ask, waited = client.ask, []

        def clocked(*command: Any) -> Any:
            start = time.perf_counter_ns()
            try:
                return ask(*command)
            finally:
                waited.append((time.perf_counter_ns() - start) / 1000)

        self.redis.config_resetstat()
        client.ask, beside = clocked, []
        try:
            for n in range(count):
                start = time.perf_counter_ns()
                self.add.delay(n, 2)
                beside.append((time.perf_counter_ns() - start) / 1000 - waited[-1])
        finally:
            del client.ask
        server = self.server_time()
        ping = timed(lambda n: ask("PING"), count)
        bare = timed(lambda n: self.redis.set("bench:one", BODY, ex=3600), count)
        asked, others = percentile(waited), percentile(beside)
        report("A lone delay(), µs (the tenth percentile)", f"{asked + others:.0f}")
        report("  check the arguments, fill the signature's template", f"{plan:.0f}")
        report("  PENDING state, Commit", f"{planned - plan:.0f}")
        report("  connection, batch, token, packing", f"{others - planned:.0f}")
        report("  write, wake Redis, wait, read the answer: as of a PING", f"{ping:.0f}")
        report("  the script in Redis (INFO, median)", f"{server:.0f}")
        report("  the rest of the round trip", f"{asked - ping - server:.0f}")
        report("redis-py SET, for comparison", f"{bare:.0f}")

    def server_time(self) -> float:
        """Microseconds that Redis spends in the script: the median where it knows it (from 7.0 on), or the mean."""
        times = self.redis.info("latencystats").get("latency_percentiles_usec_evalsha")
        if times:
            return float(times["p50"])
        return float(self.redis.info("commandstats")["cmdstat_evalsha"]["usec_per_call"])


def timed(call: Callable[[int], object], count: int) -> float:
    """Microseconds of one call."""
    times = []
    for n in range(count):
        start = time.perf_counter_ns()
        call(n)
        times.append((time.perf_counter_ns() - start) / 1000)
    return percentile(times)


def percentile(times: list[float]) -> float:
    """The tenth percentile."""
    return sorted(times)[len(times) // 10]
