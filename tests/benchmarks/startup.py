"""Times an import, and a worker from its start to its first result."""

from __future__ import annotations

import subprocess
import sys
import time

from worker_process import worker_process

from gearmesh import App

CODE = "import time; start = time.perf_counter(); import gearmesh; print(time.perf_counter() - start)"


def import_seconds() -> float:
    """Seconds of ``import gearmesh`` in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    return float(done.stdout)


def ready_seconds(url: str) -> float:
    """Seconds from the start of ``gearmesh worker`` until a task that waited has its result."""
    app = App(broker=url, backend=url)
    result = app.remote("add", "int64", "int64", results="int64").delay(1, 2)
    start = time.perf_counter()
    try:
        with worker_process(url):
            while not result.ready():
                time.sleep(0.002)
            return time.perf_counter() - start
    finally:
        app.close()
