"""Numbers on a local RabbitMQ; results in Redis, and a few in RabbitMQ itself."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import amqp
import redis
from bench_report import QUEUE, report
from tests.support.servers import RabbitServer
from worker_process import worker_process

from gearmesh import App
from gearmesh.testing.peerproc import PeerProcess
from gearmesh.transports.amqp.frames import OutgoingMessage, Writer
from gearmesh.wire import types
from gearmesh.wire.codec import encode
from gearmesh.wire.signature import Signature

#: Tasks whose states are kept in RabbitMQ: each makes a queue there, some 300 a second.
FEW = 1000


class AMQPBench:
    """Publishing with confirms, and working off a backlog with one process and with two.

    A rate of working is taken between 90 % and 10 % of the backlog, so that starting does not count.
    """

    def __init__(self, server: RabbitServer, results: str, tasks: int, rounds: int) -> None:
        self.server, self.results, self.tasks, self.rounds = server, results, tasks, rounds
        self.redis = redis.Redis.from_url(results)

    def run(self) -> None:
        report("RabbitMQ broker, persistent messages, confirms", "")
        limits, alone, together, stored = (list[float]() for _ in range(4))
        for _ in range(self.rounds):  # in turn: the machine's mood is that of all
            limits.append(self.limit())
            with self.fresh("null") as (app, _):
                alone.append(publish(app, self.tasks))
            together.append(self.publish_together(2))
            with self.fresh(self.results) as (app, _):
                stored.append(publish(app, self.tasks))
        limit = statistics.median(limits)
        report("a bare client with prepared messages", f"{limit:,.0f} /s")
        for name, rates in (
            ("no results", alone),
            ("no results, 2 processes", together),
            ("results in Redis", stored),
        ):
            rate = statistics.median(rates)
            report(f"publish in batches, {name}", f"{rate:,.0f} /s")
            report("  share of the bare client's rate", f"{rate / limit:.2f}")
        with self.fresh(self.results) as (app, _):
            report("publish one by one, results in Redis", f"{self.one_by_one(app, 1000):,.0f} /s")
        ours: dict[int, float] = {}
        for processes in (1, 2):
            rates = [self.work(processes) for _ in range(self.rounds)]
            ours[processes] = statistics.median(rates)
            name = "one process" if processes == 1 else f"{processes} processes"
            report(f"work, {name}, 10 threads each, results in Redis", f"{ours[processes]:,.0f} /s")
        self.latency()
        with self.fresh("") as (app, _):
            report("publish in batches, results in RabbitMQ", f"{publish(app, FEW):,.0f} /s")
        if peer := os.environ.get("GEARMESH_PEER"):
            go = statistics.median(self.machinery(peer) for _ in range(self.rounds))
            report("Machinery (Go), 10 at a time: work, results in Redis", f"{go:,.0f} /s")
            report("  ours, one process / Machinery's", f"{ours[1] / go:.1f}")
            report("Machinery (Go): publish, 4 at a time", f"{self.machinery_publishes(peer):,.0f} /s")

    @contextmanager
    def fresh(self, backend: str) -> Iterator[tuple[App, str]]:
        """An app on a vhost of its own; ``""``: results are there, too."""
        self.redis.flushall()
        vhost = self.server.vhost()
        url = self.server.url_of(vhost)
        with App(broker=url, backend=backend or url) as app:
            yield app, vhost
        self.server.drop_vhost(vhost)

    def publish_together(self, processes: int) -> float:
        """Return the rate of several processes together."""
        code = (
            "import sys; from bench_amqp import publish; from gearmesh import App\n"
            "app = App(broker=sys.argv[1], backend='null'); publish(app, 1000)\n"
            "print(flush=True); sys.stdin.readline(); print(publish(app, int(sys.argv[2])))"
        )
        with self.fresh("null") as (_, vhost):
            command = [sys.executable, "-c", code, self.server.url_of(vhost), str(self.tasks // processes)]
            started = [
                subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                for _ in range(processes)
            ]
            for process in started:
                process.stdout.readline()  # type: ignore[union-attr]
            for process in started:
                process.stdin.write("\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
            return sum(float(process.communicate()[0]) for process in started)

    def limit(self) -> float:
        """The same messages, made beforehand: written to the socket, 2,048 ahead of their confirms."""
        with self.fresh("null") as (app, vhost):
            publish(app, 1000)
            sig = Signature(
                UUID=f"task_{uuid4()}",
                Name="add",
                RoutingKey="machinery_task",
                Args=(types.arg("int64", 1), types.arg("int64", 2)),
                Headers={},
            )
            item = OutgoingMessage("machinery_exchange", sig.RoutingKey, encode(sig))
            host, port = "127.0.0.1", self.server.port
            with amqp.Connection(f"{host}:{port}", virtual_host=vhost, confirm_publish=True) as connection:
                channel = connection.channel()
                channel.confirm_select()
                confirmed = 0

                def on_ack(tag: int, multiple: bool) -> None:
                    nonlocal confirmed
                    confirmed = tag

                channel.events["basic_ack"].add(on_ack)
                some = Writer(channel.channel_id, connection.frame_max).write(item) * 250
                start = time.perf_counter()
                for sent in range(250, self.tasks + 1, 250):
                    connection.transport.write(some)
                    while sent - confirmed > 2048:
                        connection.drain_events(timeout=30)
                while confirmed < sent:
                    connection.drain_events(timeout=30)
                return sent / (time.perf_counter() - start)

    def alone(self, count: int) -> float:
        """Return the rate of a bare client that waits for the confirm of each persistent message: the upper limit."""
        with self.fresh("null") as (app, vhost):
            publish(app, 1)
            host = f"127.0.0.1:{self.server.port}"
            with amqp.Connection(host, virtual_host=vhost, confirm_publish=True) as connection:
                channel = connection.channel()
                start = time.perf_counter()
                for _ in range(count):
                    message = amqp.Message(b"m" * 464, delivery_mode=2)
                    channel.basic_publish_confirm(message, "machinery_exchange", "machinery_task")
                return count / (time.perf_counter() - start)

    def one_by_one(self, app: App, count: int) -> float:
        add = app.remote("add", "int64", "int64", results="int64")
        add.delay(0, 0)
        start = time.perf_counter()
        for n in range(count):
            add.delay(n, 2)
        return count / (time.perf_counter() - start)

    def work(self, processes: int) -> float:
        with self.fresh(self.results) as (app, vhost):
            publish(app, self.tasks)
            with ExitStack() as stack:
                for _ in range(processes):
                    stack.enter_context(self.worker(self.server.url_of(vhost)))
                return self.slope(vhost)

    def slope(self, vhost: str) -> float:
        """Tasks a second while the backlog goes from 90 % to 10 %."""
        began: tuple[float, int] | None = None
        while True:
            rows = self.server.listing("queues", "name", "messages", vhost=vhost)
            left = next(row["messages"] for row in rows if row["name"] == QUEUE)
            now = time.perf_counter()
            if began is None and left < self.tasks * 0.9:
                began = now, left
            elif began is not None and left < self.tasks * 0.1:
                return (began[1] - left) / (now - began[0])
            time.sleep(0.1)  # asking takes 30 ms of a core

    @contextmanager
    def worker(self, url: str) -> Iterator[None]:
        with worker_process(url, GEARMESH_BENCH_BACKEND=self.results):
            yield

    def latency(self) -> None:
        with self.fresh(self.results) as (app, vhost), self.worker(self.server.url_of(vhost)):
            add = app.remote("add", "int64", "int64", results="int64")
            add.delay(0, 0).get(timeout=30)
            times = []
            for n in range(500):
                start = time.perf_counter()
                add.delay(n, 1).get(timeout=10)
                times.append((time.perf_counter() - start) * 1000)
            times.sort()
            report("one call on an idle worker, delay() to get(), p50", f"{times[250]:.2f} ms")
            report("  p99", f"{times[495]:.2f} ms")

    # -- for comparison

    def machinery(self, peer: str) -> float:
        with self.fresh(self.results) as (app, vhost):
            publish(app, self.tasks)
            url = self.server.url_of(vhost)
            flags = ["-mode", "worker", "-broker", url, "-backend", self.results, "-concurrency", "10"]
            with PeerProcess([peer, *flags, "-queue", QUEUE, "-log", "error"]):
                return self.slope(vhost)

    def machinery_publishes(self, peer: str) -> float:
        with self.fresh(self.results) as (_, vhost):
            url = self.server.url_of(vhost)
            with PeerProcess([peer, "-mode", "client", "-broker", url, "-backend", self.results]) as process:
                args = [{"Name": "", "Type": "int64", "Value": n} for n in (1, 2)]
                answer = process.ask(Op="flood", Sig={"Name": "add", "Args": args}, Count=FEW, Concurrency=4)
                return FEW / float(answer["Seconds"])


def publish(app: App, count: int) -> float:
    """Messages a second, published 1,000 at a time."""
    add = app.remote("add", "int64", "int64", results="int64")
    add.delay(0, 0)
    start = time.perf_counter()
    for base in range(0, count, 1000):
        app.publish_many([add.s(base + n, 2) for n in range(min(1000, count - base))])
    return count / (time.perf_counter() - start)


HERE = str(Path(__file__).parent)
