"""All task queues in one run, by turns: ratios first, since rates depend on the machine and its other load.

    tox -e bench
    python tests/benchmarks/bench.py suite [--tasks 20000] [--rounds 5] [--write]

Each round measures every contender once, so that other load slows all of them equally; the report has the medians of
the rounds. ``GEARMESH_PEER`` names a Machinery worker, which takes part then. ``--write`` writes ``docs/benchmarks``.
"""

from __future__ import annotations

import importlib.util
import os
import sys

import redis
from bench_amqp import AMQPBench, publish
from bench_producers import ProducerBench
from bench_report import report
from breadth import Breadth
from contender import CONTENDERS, Broken, Contender, Machinery
from half_load import HalfLoad
from redis_cost import RedisCost
from startup import import_seconds, ready_seconds
from suite_report import Figures, Target, write
from tests.support.servers import RabbitServer
from workflows import Workflows

GEARMESH = "gearmesh, 10 threads"
MACHINERY = "Machinery, 10 goroutines"
PREFORK = "Celery, prefork 2"
READY = "worker: start to first result, s"
DRAMATIQ = "dramatiq, 2 × 8"


class Suite:
    """Measures the contenders and gearmesh's own figures, and compares them with the targets."""

    def __init__(self, url: str, tasks: int, rounds: int, *, backlog: int) -> None:
        self.url, self.tasks, self.rounds, self.backlog = url, tasks, rounds, backlog
        self.redis = redis.Redis.from_url(url)
        self.figures = Figures()

    def run(self) -> list[Target]:
        self.contenders()
        self.producers()
        self.redis_cost()
        self.workflows()
        self.breadth()
        self.rabbit()
        for _ in range(self.rounds):
            self.figures.add("import gearmesh, s", import_seconds())
            self.redis.flushall()
            self.figures.add(READY, ready_seconds(self.url))
        return self.targets()

    # -- contenders on Redis

    def contenders(self) -> None:
        found: list[Contender] = []
        for module, package in CONTENDERS.items():
            if importlib.util.find_spec(package) is None:
                report(f"{package} is not installed", "left out")
                continue
            try:
                found += Contender.of(module, self.url, self.tasks)
            except ImportError as exc:  # its packages do not fit each other
                report(f"{package}: {exc}"[:58], "left out")
        if peer := os.environ.get("GEARMESH_PEER"):
            found.append(Machinery(MACHINERY, peer, self.url, self.tasks))
        else:
            report("GEARMESH_PEER names no Machinery worker", "left out")
        for turn in range(self.rounds):
            for each in found if turn % 2 == 0 else reversed(found):
                self.redis.flushall()
                try:
                    measured = each.measure(self.redis)
                except Broken as exc:
                    report(f"{each.name}: {exc}"[:58], "left out of a round")
                    continue
                for what, value in measured.items():
                    self.figures.add(f"{each.name}: {what}", value)
        for each in found:
            each.close()
        for name in self.figures.names():
            report(name, f"{self.figures.median(name):,.2f}")

    # -- gearmesh by itself, each number beside its comparison

    def producers(self) -> None:
        bench = ProducerBench(self.url, self.tasks, self.rounds)
        for _ in range(self.rounds):
            for name, rate in bench.turn().items():
                self.figures.add(name, rate)
            self.redis.flushall()

    def redis_cost(self) -> None:
        cost = RedisCost(self.url, self.tasks)
        with cost.worker():
            for _ in range(self.rounds):
                for name, microseconds in cost.turn().items():
                    self.figures.add(name, microseconds)

    def workflows(self) -> None:
        flows = Workflows(self.url, 10_000)
        with flows.worker() as worker:
            for _ in range(self.rounds):
                for name, seconds in flows.turn().items():
                    self.figures.add(name, seconds)
            for name, value in flows.backlogs(self.backlog, worker).items():
                self.figures.add(name, value)

    def breadth(self) -> None:
        breadth, half = Breadth(self.url, self.tasks), HalfLoad(self.url, 20_000)
        for _ in range(self.rounds):
            for name, value in {**breadth.turn(), **half.turn()}.items():
                self.figures.add(name, value)

    def rabbit(self) -> None:
        try:
            server = RabbitServer()
        except Exception as exc:  # a machine without RabbitMQ has the other figures
            report(f"RabbitMQ: {exc}"[:58], "left out")
            return
        with server:
            bench = AMQPBench(server, self.url, self.tasks, self.rounds)
            peer = os.environ.get("GEARMESH_PEER")
            for _ in range(self.rounds):
                self.figures.add("RabbitMQ: what it takes", bench.limit())
                with bench.fresh("null") as (app, _):
                    self.figures.add("RabbitMQ: publish_many, no results", publish(app, self.tasks))
                self.figures.add("RabbitMQ: one message after another by a bare client", bench.alone(500))
                with bench.fresh(self.url) as (app, _):
                    self.figures.add("RabbitMQ: delay(), results in Redis", bench.one_by_one(app, 500))
                with bench.fresh("null") as (app, _):
                    self.figures.add("RabbitMQ: delay(), no results", bench.one_by_one(app, 500))
                self.figures.add("RabbitMQ: work", bench.work(1))
                if peer:
                    self.figures.add("RabbitMQ: Machinery: work", bench.machinery(peer))
                    self.figures.add("RabbitMQ: Machinery: publish", bench.machinery_publishes(peer))

    # -- targets

    def targets(self) -> list[Target]:
        ratio, median = self.figures.ratio, self.figures.median
        work = rate(GEARMESH)
        trip, tail = f"{GEARMESH}: idle round trip p50, ms", f"{GEARMESH}: idle round trip p99, ms"
        spent = self.figures.sum("Redis' CPU, publish, µs", "Redis' CPU, work, µs")
        floor = self.figures.sum(
            "Redis' CPU, plain commands: publish, µs", "Redis' CPU, plain commands: work, µs"
        )
        place = self.figures.place(GEARMESH, "delay() one by one, tasks/s", without=MACHINERY)
        many = "RabbitMQ: publish_many, no results"
        middle = f"{PREFORK}: idle round trip p50, ms"
        go, most, least = "RabbitMQ: Machinery", False, True
        return [
            Target(
                "tasks a second of one worker process on Redis, multiple of Machinery's",
                ratio(work, rate(MACHINERY)), 10, least, ".1f",
            ),
            Target(
                "the same, multiple of Celery's (prefork, 2 processes)",
                ratio(work, rate(PREFORK)), 80, least, ".0f",
            ),
            Target(
                "the same, multiple of dramatiq's (2 processes of 8 threads)",
                ratio(work, rate(DRAMATIQ)), 20, least, ".1f",
            ),
            Target("CPU time of Redis for one task, from the call to the result, µs", spent, 12, most, ".1f"),
            Target(
                "the same, multiple of the plain commands' (`SET`, `RPUSH`, `LPOP`, `SET`)",
                spent / floor if spent and floor else None, 2, most, ".2f",
            ),
            Target(
                "`delay()` calls a second of one thread, share of redis-py's `SET`",
                ratio("delay()", "redis-py SET"), 0.8, least, ".2f",
            ),
            Target("the same, place among the Python task queues (1: the fastest)", place, 1, most, ".0f"),
            Target(
                "`delay()` calls a second of 10 threads, multiple of one thread's",
                ratio("10 threads", "delay()"), 5, least, ".2f",
            ),
            Target(
                "`adelay()` calls a second of 50 coroutines, share of `publish_many()`'s",
                ratio("50 coroutines", "batches"), 0.5, least, ".2f",
            ),
            Target("round trip on an idle worker, p50, ms", median(trip), 1.0, most, ".2f"),
            Target("round trip on an idle worker, p99, ms", median(tail), 3.0, most, ".2f"),
            Target("round trip on an idle worker, p50, share of Celery's", ratio(trip, middle), 0.4, most, ".2f"),
            Target(
                "RabbitMQ: `delay()` calls a second of one thread, results in Redis",
                median("RabbitMQ: delay(), results in Redis"), 3000, least, ",.0f",
            ),
            Target(
                "time for a chord of 10,000 tasks, multiple of the time for 10,000 plain tasks",
                ratio("chord of 10,000, s", "10,000 plain tasks, s"), 1.5, most, ".2f",
            ),
            Target(
                "RabbitMQ: tasks a second of one worker process, multiple of Machinery's",
                ratio("RabbitMQ: work", f"{go}: work"), 7, least, ".1f",
            ),
            Target(
                "RabbitMQ: messages a second with confirms, multiple of Machinery's",
                ratio(many, f"{go}: publish"), 6, least, ".1f",
            ),
            Target(
                "the same, share of a bare client's, which sends prepared messages",
                ratio(many, "RabbitMQ: what it takes"), 0.9, least, ".2f",
            ),
            Target(
                f"tasks a second with {self.backlog:,} in the queue, share of those with 10,000",
                ratio("backlog, tasks/s", "backlog of 10,000, tasks/s"), 0.95, least, ".2f",
            ),
            Target("time of `import gearmesh` with its `App`, s", median("import gearmesh, s"), 0.12, most, ".3f"),
            Target("time from the start of a worker to its first result, s", median(READY), 0.3, most, ".2f"),
        ]  # fmt: skip


def rate(contender: str) -> str:
    """The name of a contender's figure of work."""
    return f"{contender}: work, tasks/s"


def main(url: str, tasks: int, rounds: int, backlog: int, *, into_docs: bool) -> None:
    suite = Suite(url, tasks, rounds, backlog=backlog)
    targets = suite.run()
    print(file=sys.stderr)
    for target in targets:
        report(target.what, target.text())
    if into_docs:
        write(suite.figures, targets, rounds)
