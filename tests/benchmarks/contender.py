"""A task queue as the suite sees it: programs that publish and wait, a worker, and the number of waiting messages."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from placing import apart

from gearmesh.testing.peerproc import PeerProcess

HERE = Path(__file__).parent / "contenders"
#: The modules of ``contenders/``, and the package that each needs.
CONTENDERS = {
    "gearmesh_app": "gearmesh",
    "celery_app": "celery",
    "dramatiq_app": "dramatiq",
    "huey_app": "huey",
    "taskiq_app": "taskiq_redis",
    "arq_app": "arq",
    "rq_app": "rq",
}
#: Round trips on an idle worker in a round.
TRIPS = 300
#: Seconds between two looks at the queue. Each look takes time of Redis and of a processor from the worker.
LOOK_INTERVAL_S = 0.02
#: Seconds after which a contender that gets nowhere is given up.
PATIENCE_S = 120


class Broken(Exception):
    """A contender did not run the tasks that it got."""


class Contender:
    """One way to run one task queue's worker.

    Args:
        name: as the table has it.
        module: of ``contenders/``.
        command: the worker's.
        tasks: how many tasks a round has.
    """

    def __init__(self, name: str, module: Any, command: list[str], url: str, tasks: int) -> None:
        self.name, self._module, self._command, self._tasks = name, module, command, tasks
        self._environment = {
            **os.environ,
            "GEARMESH_BENCH_URL": url,
            "PYTHONPATH": os.pathsep.join((str(HERE), os.environ.get("PYTHONPATH", ""))),
        }
        self._driver: subprocess.Popen[str] | None = None

    @classmethod
    def of(cls, module: str, url: str, tasks: int) -> list[Contender]:
        """The contenders that a module describes; it gets fewer tasks if it is slow."""
        os.environ["GEARMESH_BENCH_URL"] = url
        if str(HERE) not in sys.path:
            sys.path.insert(0, str(HERE))
        found = importlib.import_module(module)
        count = tasks * getattr(found, "MORE", 1) // 10 // getattr(found, "FEWER", 1)
        return [cls(name, found, command, url, count) for name, command in found.WORKERS.items()]

    def measure(self, client: redis.Redis) -> dict[str, float]:
        """Measure one turn: calls one by one, a backlog, round trips."""
        calls = max(50, min(self._tasks // 4, 2000))
        self._ask("publish", 20)
        assert self._driver is not None
        with apart(client, self._driver.pid):
            published = self._ask("publish", calls)
        client.flushall()
        self._ask("prefill", self._tasks)
        with self._worker():
            rate = self._slope(client)
            self._until(lambda: self._module.waiting(client) == 0)
            self._ask("trips", 20)
            times = sorted(self._ask("trips", min(TRIPS, self._tasks))["times"])
        return {
            "delay() one by one, tasks/s": calls / published["wall"],
            "delay() one by one, CPU of the caller, µs": published["cpu"] / calls * 1e6,
            "work, tasks/s": rate,
            "idle round trip p50, ms": times[len(times) // 2] * 1000,
            "idle round trip p99, ms": times[len(times) * 99 // 100] * 1000,
        }

    def close(self) -> None:
        if self._driver is not None:
            assert self._driver.stdin is not None
            self._driver.stdin.close()
            self._driver.wait(30)

    def _ask(self, verb: str, count: int) -> dict[str, Any]:
        if self._driver is None:
            self._driver = subprocess.Popen(
                [sys.executable, "drive.py", self._module.__name__],
                cwd=HERE,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        print(verb, count, file=self._driver.stdin, flush=True)
        line = self._driver.stdout.readline()
        if not line:
            self._driver = None
            raise Broken(f"its client ended while it was to {verb} {count}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    @contextmanager
    def _worker(self) -> Iterator[None]:
        log = tempfile.TemporaryFile()  # noqa: SIM115 (it ends below)
        process = subprocess.Popen(
            self._command, cwd=HERE, env=self._environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-1000:].decode(errors="replace"))
            raise
        finally:
            log.close()
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(15)

    def _slope(self, client: redis.Redis) -> float:
        """Tasks a second while the backlog goes from 90 % to 10 %, so that starting does not count."""
        began: tuple[float, int] | None = None
        before = time.perf_counter(), self._tasks
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            left, now = int(self._module.waiting(client)), time.perf_counter()
            if began is None and left < self._tasks * 0.9:
                began = (now, left) if left > self._tasks * 0.1 else before  # all of it between two looks
            if began is not None and left <= self._tasks * 0.1:
                return (began[1] - left) / (now - began[0])
            before = now, left
            time.sleep(LOOK_INTERVAL_S)
        raise Broken(f"its worker did not work off {self._tasks} tasks in {PATIENCE_S} s")

    def _until(self, done: Any) -> None:
        until = time.monotonic() + PATIENCE_S
        while not done() and time.monotonic() < until:
            time.sleep(0.01)


class Machinery(Contender):
    """A Machinery worker in Go, whose tasks gearmesh publishes."""

    def __init__(self, name: str, peer: str, url: str, tasks: int) -> None:
        os.environ["GEARMESH_BENCH_URL"] = url
        super().__init__(name, importlib.import_module("gearmesh_app"), [], url, tasks // 2)
        self._flags = [peer, "-broker", url, "-backend", url, "-queue", "machinery_tasks"]

    def measure(self, client: redis.Redis) -> dict[str, float]:
        args = [{"Name": "", "Type": "int64", "Value": n} for n in (1, 2)]
        sig = {"Name": "add", "Args": args}
        with PeerProcess([*self._flags, "-mode", "client"]) as peer:
            alone = float(peer.ask(Op="flood", Sig=sig, Count=2000, Concurrency=1)["Seconds"])
            ten = float(peer.ask(Op="flood", Sig=sig, Count=4000, Concurrency=10)["Seconds"])
        client.flushall()
        self._ask("prefill", self._tasks)
        with PeerProcess([*self._flags, "-mode", "worker", "-concurrency", "10"]):
            rate = self._slope(client)
            self._until(lambda: self._module.waiting(client) == 0)
            self._ask("trips", 20)
            times = sorted(self._ask("trips", TRIPS)["times"])
        return {
            "delay() one by one, tasks/s": 2000 / alone,
            "publish, 10 goroutines, tasks/s": 4000 / ten,
            "work, tasks/s": rate,
            "idle round trip p50, ms": times[len(times) // 2] * 1000,
            "idle round trip p99, ms": times[len(times) * 99 // 100] * 1000,
        }
