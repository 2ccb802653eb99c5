"""dramatiq on Redis, with results."""

from __future__ import annotations

import os
import sys
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

URL = os.environ["GEARMESH_BENCH_URL"]
broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=RedisBackend(url=URL)))
dramatiq.set_broker(broker)
WORKERS = {"dramatiq, 2 × 8": [sys.executable, "-m", "dramatiq", "dramatiq_app", "-p", "2", "-t", "8"]}


@dramatiq.actor(store_results=True)
def add(a: int, b: int) -> int:
    return a + b


def publish(count: int) -> None:
    for n in range(count):
        add.send(n, 2)


def trip() -> None:
    add.send(1, 2).get_result(block=True, timeout=30_000)


def waiting(client: Any) -> int:
    return int(client.llen("dramatiq:default"))
