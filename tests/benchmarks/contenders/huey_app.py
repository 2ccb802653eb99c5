"""huey on Redis, with threads."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from huey import RedisHuey

huey = RedisHuey("bench", url=os.environ["GEARMESH_BENCH_URL"])
_CONSUMER = str(Path(sys.executable).with_name("huey_consumer"))
WORKERS = {"huey, 8 threads": [_CONSUMER, "huey_app.huey", "-w", "8", "-q"]}


@huey.task()
def add(a: int, b: int) -> int:
    return a + b


def publish(count: int) -> None:
    for n in range(count):
        add(n, 2)


def trip() -> None:
    add(1, 2)(blocking=True, timeout=30)


def waiting(client: Any) -> int:
    return int(client.llen("huey.redis.bench"))
