"""Times an import, and a worker from its start to its first result."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from gearmesh import App

HERE = Path(__file__).parent
CODE = "import time; start = time.perf_counter(); import gearmesh; print(time.perf_counter() - start)"


def import_seconds() -> float:
    """Seconds of ``import gearmesh`` in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    return float(done.stdout)


def ready_seconds(url: str) -> float:
    """Seconds from the start of ``gearmesh worker`` until a task that waited has its result."""
    app = App(broker=url, backend=url)
    result = app.remote("add", "int64", "int64", results="int64").delay(1, 2)
    command = [
        sys.executable,
        "-m",
        "gearmesh",
        "worker",
        "bench_app:app",
        "-c",
        "10",
        "--log-level",
        "WARNING",
    ]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=HERE, env={**os.environ, "GEARMESH_BENCH_URL": url})
    try:
        while not result.ready():
            time.sleep(0.002)
        return time.perf_counter() - start
    finally:
        process.terminate()
        process.wait(30)
        app.close()
