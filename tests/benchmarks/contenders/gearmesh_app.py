"""gearmesh on Redis, with its defaults."""

from __future__ import annotations

import os
import sys
from typing import Any

from gearmesh import App

URL = os.environ["GEARMESH_BENCH_URL"]
app = App(broker=URL, backend=os.environ.get("GEARMESH_BENCH_BACKEND", URL))
WORKERS = {
    "gearmesh, 10 threads": [
        sys.executable, "-m", "gearmesh", "worker", "gearmesh_app:app", "-c", "10", "--log-level", "WARNING",
    ],
}  # fmt: skip
#: It works tens of thousands of tasks a second. If these were fewer, its supervisor would still start meanwhile.
MORE = 100


@app.task
def add(a: int, b: int) -> int:
    return a + b


def publish(count: int) -> None:
    for n in range(count):
        add.delay(n, 2)


def prefill(count: int) -> None:
    app.publish_many([add.s(n, 2) for n in range(count)])


def trip() -> None:
    add.delay(1, 2).get(timeout=30)


def waiting(client: Any) -> int:
    return int(client.llen("machinery_tasks"))
