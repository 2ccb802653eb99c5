"""Celery on Redis, with its defaults."""

from __future__ import annotations

import os
import sys
from typing import Any

from celery import Celery

URL = os.environ["GEARMESH_BENCH_URL"]
app = Celery("bench", broker=URL, backend=URL)
app.conf.update(broker_connection_retry_on_startup=True)
_COMMAND = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-l", "ERROR", "--without-mingle"]
WORKERS = {
    "Celery, prefork 2": [*_COMMAND, "-P", "prefork", "-c", "2"],
    "Celery, threads 10": [*_COMMAND, "-P", "threads", "-c", "10"],
}


@app.task(name="add")
def add(a: int, b: int) -> int:
    return a + b


def publish(count: int) -> None:
    for n in range(count):
        add.delay(n, 2)


def trip() -> None:
    add.delay(1, 2).get(timeout=30)


def waiting(client: Any) -> int:
    return int(client.llen("celery"))
