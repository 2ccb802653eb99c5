"""arq on Redis; its client is asynchronous."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings

SETTINGS = RedisSettings.from_dsn(os.environ["GEARMESH_BENCH_URL"])
WORKERS = {"arq": [str(Path(sys.executable).with_name("arq")), "arq_app.WorkerSettings"]}
_loop = asyncio.new_event_loop()
_pool: Any = None


async def add(ctx: Any, a: int, b: int) -> int:
    return a + b


class WorkerSettings:
    functions = (add,)
    redis_settings = SETTINGS
    max_jobs = 100
    poll_delay = 0.01


def _run(what: Any) -> None:
    global _pool
    if _pool is None:
        _pool = _loop.run_until_complete(create_pool(SETTINGS))
    _loop.run_until_complete(what())


def publish(count: int) -> None:
    async def send() -> None:
        for n in range(count):
            await _pool.enqueue_job("add", n, 2)

    _run(send)


def trip() -> None:
    async def one() -> None:
        job = await _pool.enqueue_job("add", 1, 2)
        while await job.result_info() is None:  # job.result() may look between the queue and the result
            await asyncio.sleep(0.001)

    _run(one)


def waiting(client: Any) -> int:
    return int(client.zcard("arq:queue"))
