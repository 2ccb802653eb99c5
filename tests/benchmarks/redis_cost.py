"""The CPU time of redis-server for a task, beside the plain commands of a pipeline that do the same without safety."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from bench_report import QUEUE
from draining import drained
from worker_process import worker_process

from gearmesh import App

STATE, MESSAGE = b"s" * 165, b"m" * 464


@contextmanager
def running_worker(url: str, app: App) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of ten threads that has run its first task."""
    with worker_process(url) as process:
        app.remote("add", "int64", "int64", results="int64").delay(1, 2).get(timeout=30)
        yield process


def until_empty(client: redis.Redis, count: int, since: float) -> float:
    """Wait until no message is in the queue nor in a worker's hands; return tasks a second."""
    while not drained(client, QUEUE):
        time.sleep(0.01)
    return count / (time.perf_counter() - since)


class RedisCost:
    """Publishes and works in bulk, and takes the difference of INFO's CPU times."""

    def __init__(self, url: str, tasks: int) -> None:
        self.url, self.tasks = url, tasks
        self.redis = redis.Redis.from_url(url)
        self.app = App(broker=url, backend=url)
        self.add = self.app.remote("add", "int64", "int64", results="int64")

    def worker(self) -> object:
        return running_worker(self.url, self.app)

    def turn(self) -> dict[str, float]:
        count = self.tasks
        self.redis.flushall()  # a larger database would grow its hash table in some turns and not in others
        begin = self.spent()
        for base in range(0, count, 1000):
            self.app.publish_many([self.add.s(base + n, 2).set(queue="bench_stage") for n in range(1000)])
        published = self.spent()
        self.redis.rename("bench_stage", QUEUE)
        self.until_worked(count)
        worked = self.spent()
        self.redis.flushall()
        before = self.spent()
        ids = [uuid.uuid4().hex for _ in range(count)]
        for base in range(0, count, 250):
            with self.redis.pipeline(transaction=False) as pipe:
                for each in ids[base : base + 250]:
                    pipe.set(each, STATE, ex=3600)
                    pipe.rpush("bench_plain", MESSAGE)
                pipe.execute()
        plain = self.spent()
        for base in range(0, count, 200):
            with self.redis.pipeline(transaction=False) as pipe:
                pipe.lpop("bench_plain", 200)
                for each in ids[base : base + 200]:
                    pipe.set(each, STATE, ex=3600)
                pipe.execute()
        end = self.spent()
        steps = {
            "Redis' CPU, publish, µs": published - begin,
            "Redis' CPU, work, µs": worked - published,
            "Redis' CPU, plain commands: publish, µs": plain - before,
            "Redis' CPU, plain commands: work, µs": end - plain,
        }
        return {name: seconds / count * 1e6 for name, seconds in steps.items()}

    def until_worked(self, count: int) -> None:
        while self.redis.llen(QUEUE):
            time.sleep(0.02)
        time.sleep(0.2)  # by now the worker has settled the messages that it held

    def spent(self) -> float:
        """Seconds of CPU that redis-server has used."""
        found = self.redis.info("cpu")
        return float(found["used_cpu_user"] + found["used_cpu_sys"])
