"""The app of the Celery benchmark: one task, by the settings that ``GEARMESH_BENCH_CELERY`` names."""

from __future__ import annotations

import os

from celery import Celery

from gearmesh.celery import configure

_url = os.environ["GEARMESH_BENCH_URL"]
app = Celery("bench")
app.conf.update(broker_connection_retry_on_startup=True)
if os.environ["GEARMESH_BENCH_CELERY"] == "stock":
    app.conf.update(broker_url=_url, result_backend=_url)
else:
    configure(app, broker=_url, backend=_url)


@app.task(name="add")
def add(a: int, b: int) -> int:
    """The least a task can do."""
    return a + b
