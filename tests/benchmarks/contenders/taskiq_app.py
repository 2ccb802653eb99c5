"""taskiq on a Redis list, with results; its client is asynchronous."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

URL = os.environ["GEARMESH_BENCH_URL"]
broker = ListQueueBroker(URL, queue_name="bench").with_result_backend(RedisAsyncResultBackend(URL))
WORKERS = {
    "taskiq, 2": [
        sys.executable, "-m", "taskiq", "worker", "taskiq_app:broker", "--workers", "2", "--log-level", "ERROR",
    ],
}  # fmt: skip
_loop = asyncio.new_event_loop()
_started = False


@broker.task(task_name="add")
async def add(a: int, b: int) -> int:
    return a + b


def _run(what: Any) -> None:
    global _started
    if not _started:
        _started = True
        _loop.run_until_complete(broker.startup())
    _loop.run_until_complete(what)


def publish(count: int) -> None:
    async def send() -> None:
        for n in range(count):
            await add.kiq(n, 2)

    _run(send())


def trip() -> None:
    async def one() -> None:
        task = await add.kiq(1, 2)
        await task.wait_result(check_interval=0.001, timeout=30)

    _run(one())


def waiting(client: Any) -> int:
    return int(client.llen("bench"))
