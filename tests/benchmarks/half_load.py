"""Round trips while a second process keeps the worker busy for about half of its time."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis_cost import running_worker, until_empty

from gearmesh import App

HERE = Path(__file__).parent
#: Messages that the other process sends at a time, as a service that gathers calls would.
BATCH = 20
#: Round trips of one turn. They take the time that the worker needs for them, so the load lasts as long as they do.
TRIPS = 1000


class HalfLoad:
    """Measures calls while other calls come at half the rate at which this machine sends and runs tasks.

    The machine's rate is measured first, by sending and running ``tasks`` tasks at the same time: on a machine whose
    cores also run Redis and the sender, it is lower than the rate of a worker alone.
    """

    def __init__(self, url: str, tasks: int) -> None:
        self.url, self.tasks = url, tasks
        self.redis = redis.Redis.from_url(url)
        self.app = App(broker=url, backend=url)
        self.add = self.app.remote("add", "int64", "int64", results="int64")

    def turn(self) -> dict[str, float]:
        with running_worker(self.url, self.app):
            start = time.perf_counter()
            for base in range(0, self.tasks, BATCH):
                self.app.publish_many([self.add.s(base + n, 2) for n in range(BATCH)])
            rate = until_empty(self.redis, self.tasks, start) / 2
            with offered(self.url, rate) as rates:
                times = self._trips()
            until_empty(self.redis, 1, time.perf_counter())
        self.redis.flushall()
        return {
            "half load: tasks sent, tasks/s": rates[0],
            "half load: round trip p50, ms": times[len(times) // 2],
            "half load: round trip p99, ms": times[len(times) * 99 // 100],
            "half load: round trip p99.9, ms": times[len(times) * 999 // 1000],
        }

    def _trips(self) -> list[float]:
        times = []
        for n in range(TRIPS):
            start = time.perf_counter()
            self.add.delay(n, 2).get(timeout=30)
            times.append((time.perf_counter() - start) * 1000)
        return sorted(times)


@contextmanager
def offered(url: str, rate: float) -> Iterator[list[float]]:
    """Send ``rate`` tasks a second from another process while the block runs.

    Yields:
        A list, which has the real rate when the block has ended.
    """
    command = [sys.executable, __file__, url, str(rate)]
    process = subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()  # it sends now
    real: list[float] = []
    try:
        yield real
    finally:
        real.append(float(process.communicate("\n", timeout=30)[0]))


def offer(url: str, rate: float) -> float:
    """Send tasks in batches at even distances until standard input has a line; return tasks a second."""
    with App(broker=url, backend=url) as app:
        add = app.remote("add", "int64", "int64", results="int64")
        over = threading.Event()
        threading.Thread(target=lambda: (sys.stdin.readline(), over.set()), daemon=True).start()
        app.publish_many([add.s(0, 2)])
        print(flush=True)
        sent, start = 0, time.perf_counter()
        while not over.is_set():
            app.publish_many([add.s(n, 2) for n in range(BATCH)])
            sent += BATCH
            over.wait(max(0.0, start + sent / rate - time.perf_counter()))
        return sent / (time.perf_counter() - start)


if __name__ == "__main__":
    print(offer(sys.argv[1], float(sys.argv[2])))
