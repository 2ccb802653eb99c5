"""Benchmarks on a local server: publishing, working, latency, memory, each beside a comparison from the same run.

    python tests/benchmarks/bench.py [suite|redis|amqp|celery|dynamodb|sqs|pubsub|producers|watched] [--tasks 20000]
        [--backlog 200000] [--rounds 3] [--only delay] [--write]

``suite`` has all task queues take turns in one run, and shows which of the project's targets are met; ``--write``
writes ``docs/benchmarks``.

With GEARMESH_PEER naming a Machinery process, it works the same tasks on the same server for comparison.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import kombu
import psutil
import redis

from gearmesh import App
from gearmesh.testing.peerproc import PeerProcess

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))
from bench_amqp import AMQPBench
from bench_celery import CeleryBench
from bench_producers import ProducerBench
from bench_report import QUEUE, report
from draining import drained
from tests.support.servers import ElasticMQServer, RabbitServer, RedisServer
from worker_process import worker_process

STAGE = "bench_stage"


class Bench:
    def __init__(self, url: str, tasks: int, backlog: int, rounds: int) -> None:
        self.url, self.tasks, self.backlog, self.rounds = url, tasks, backlog, rounds
        self.redis = redis.Redis.from_url(url)
        self.app = App(broker=url, backend=url)
        self.add = self.app.remote("add", "int64", "int64", results="int64")

    def run(self) -> None:
        one = self.publish_one_by_one()
        report("publish one by one", f"{one:,.0f} /s")
        self.redis.flushall()
        batch = statistics.median(self.publish_in_batches(QUEUE) for _ in range(self.rounds))
        report("publish in batches", f"{batch:,.0f} /s")
        self.redis.flushall()
        with self.worker() as child:
            rates = [self.work(self.tasks) for _ in range(self.rounds)]
            report(
                f"work, one process, 10 threads, median of {self.rounds}",
                f"{statistics.median(rates):,.0f} /s",
            )
            self.latency()
            self.memory(child)
        stock = self.stock_kombu()
        report("kombu's stock Redis transport: consume and ack", f"{stock:,.0f} /s")
        report("  ours / kombu's", f"{statistics.median(rates) / stock:.1f}")
        if peer := os.environ.get("GEARMESH_PEER"):
            go = self.machinery(peer)
            report("Machinery (Go), 10 at a time: work", f"{go:,.0f} /s")
            report("  ours / Machinery's", f"{statistics.median(rates) / go:.1f}")

    # -- publishing

    def publish_one_by_one(self) -> float:
        count = self.tasks // 4
        self.add.delay(1, 2)
        start = time.perf_counter()
        for n in range(count):
            self.add.delay(n, 2)
        return count / (time.perf_counter() - start)

    def publish_in_batches(self, queue: str, count: int = 0) -> float:
        count = count or self.tasks
        start = time.perf_counter()
        for base in range(0, count, 1000):
            self.app.publish_many(
                [self.add.s(base + n, 2).set(queue=queue) for n in range(min(1000, count - base))]
            )
        return count / (time.perf_counter() - start)

    # -- working

    @contextmanager
    def worker(self) -> Iterator[psutil.Process]:
        with worker_process(self.url) as process:
            self.add.delay(1, 2).get(timeout=30)
            (child,) = psutil.Process(process.pid).children()
            yield child

    def work(self, count: int) -> float:
        """Tasks a second from the moment they are all there until none is held or waiting."""
        self.publish_in_batches(STAGE, count)
        start = time.perf_counter()
        self.redis.rename(STAGE, QUEUE)
        self.until_drained()
        return count / (time.perf_counter() - start)

    def until_drained(self, seen: Callable[[], None] = lambda: None) -> None:
        while not drained(self.redis, QUEUE):
            seen()
            time.sleep(0.01)
        seen()

    def latency(self) -> None:
        times = []
        for n in range(1000):
            start = time.perf_counter()
            self.add.delay(n, 1).get(timeout=10)
            times.append((time.perf_counter() - start) * 1000)
        times.sort()
        report("one call on an idle worker, delay() to get(), p50", f"{times[500]:.2f} ms")
        report("  p99", f"{times[990]:.2f} ms")

    def memory(self, child: psutil.Process) -> None:
        before = child.memory_info().rss
        peak = 0

        def look() -> None:
            nonlocal peak
            peak = max(peak, child.memory_info().rss)

        self.publish_in_batches(STAGE, self.backlog)
        self.redis.rename(STAGE, QUEUE)
        self.until_drained(look)
        report("resident memory of the worker, idle", f"{before / 2**20:.1f} MiB")
        report(f"  most while it works off {self.backlog:,}", f"{peak / 2**20:.1f} MiB")

    # -- for comparison

    def stock_kombu(self, count: int = 3000) -> float:
        with kombu.Connection(self.url) as connection:
            channel = connection.channel()
            queue = kombu.Queue("bench_stock", channel=channel)
            queue.declare()
            producer = kombu.Producer(channel)
            for n in range(count):
                producer.publish({"id": n, "args": [n, 2]}, routing_key="bench_stock")
            done = 0

            def on_message(body: object, message: kombu.Message) -> None:
                nonlocal done
                message.ack()
                done += 1

            with kombu.Consumer(channel, [queue], callbacks=[on_message], prefetch_count=100):
                start = time.perf_counter()
                while done < count:
                    connection.drain_events(timeout=5)
            return count / (time.perf_counter() - start)

    def machinery(self, peer: str) -> float:
        self.redis.flushall()
        flags = ["-mode", "worker", "-broker", self.url, "-backend", self.url, "-concurrency", "10"]
        with PeerProcess([peer, *flags, "-queue", QUEUE]) as process:
            self.publish_in_batches(STAGE)
            start = time.perf_counter()
            self.redis.rename(STAGE, QUEUE)
            answer = process.ask(Op="await", Count=self.tasks, TimeoutMs=120_000)
            if not answer.get("OK"):
                raise SystemExit(f"the peer did not finish: {answer}")
            return self.tasks / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "broker",
        nargs="?",
        choices=("suite", "redis", "amqp", "celery", "dynamodb", "sqs", "pubsub", "producers", "watched"),
        default="redis",
    )
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--backlog", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("delay",), help="of the Celery benchmark, publishing alone")
    parser.add_argument("--write", action="store_true", help="of the suite, write docs/benchmarks")
    args = parser.parse_args()
    if path := os.environ.get("PYTHONPATH"):  # workers and other clients start in other folders
        os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))
    if args.broker == "suite":
        import suite

        with RedisServer() as server:
            suite.main(server.url, args.tasks, args.rounds, args.backlog, into_docs=args.write)
        return
    if args.broker == "dynamodb":
        from bench_dynamodb import bench as bench_dynamodb

        bench_dynamodb(args.tasks // 4, args.rounds)
        return
    if args.broker == "sqs":
        from bench_sqs import SQSBench

        with ElasticMQServer() as elasticmq:
            SQSBench(elasticmq, args.tasks // 4, args.rounds).run()
        return
    if args.broker == "pubsub":
        from bench_pubsub import bench as bench_pubsub

        bench_pubsub(args.tasks // 4, args.rounds)
        return
    with RedisServer() as server:
        if args.broker == "amqp":
            with RabbitServer() as rabbit:
                AMQPBench(rabbit, server.url, args.tasks, args.rounds).run()
            return
        if args.broker == "celery":
            CeleryBench(server.url, args.tasks, args.rounds, working=args.only is None).run()
            return
        if args.broker == "watched":
            from bench_watched import WatchedBench

            WatchedBench(server.url, args.tasks, args.rounds).run()
            return
        if args.broker == "producers":
            ProducerBench(server.url, args.tasks, args.rounds).run()
            return
        Bench(server.url, args.tasks, args.backlog, args.rounds).run()


if __name__ == "__main__":
    main()
