"""rq on Redis: one worker process, which forks for each task, as it does by default."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import redis
import rq
from rq_tasks import add

URL = os.environ["GEARMESH_BENCH_URL"]
queue = rq.Queue("bench", connection=redis.Redis.from_url(URL))
WORKERS = {"rq": [str(Path(sys.executable).with_name("rq")), "worker", "bench", "--url", URL, "-q"]}
#: It works some tens of tasks a second.
FEWER = 20


def publish(count: int) -> None:
    for n in range(count):
        queue.enqueue(add, n, 2)


def trip() -> None:
    job = queue.enqueue(add, 1, 2)
    while job.return_value() is None:
        time.sleep(0.001)


def waiting(client: Any) -> int:
    return int(client.llen("rq:queue:bench"))
