"""Times an import, and a worker from its start to its first result, as an installed package has them: compiled."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from worker_process import worker_process

from gearmesh import App

CODE = "import time; start = time.perf_counter(); import gearmesh; gearmesh.App; print(time.perf_counter() - start)"
#: Measurements of which the last one counts: the first compiles.
RUNS = 2


def import_seconds() -> float:
    """Seconds of ``from gearmesh import App`` in a new interpreter."""
    with _compiled() as environment:
        for _ in range(RUNS):
            command = [sys.executable, "-c", CODE]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout)


def ready_seconds(url: str) -> float:
    """Seconds from the start of ``gearmesh worker`` until a task that waited has its result."""
    app = App(broker=url, backend=url)
    try:
        with _compiled() as environment:
            for _ in range(RUNS):
                result = app.remote("add", "int64", "int64", results="int64").delay(1, 2)
                start = time.perf_counter()
                with worker_process(url, **environment):
                    while not result.ready():
                        time.sleep(0.002)
                    seconds = time.perf_counter() - start
    finally:
        app.close()
    return seconds


@contextmanager
def _compiled() -> Iterator[dict[str, str]]:
    """Yield an environment whose interpreters keep their compiled modules.

    pip compiles the modules that it installs. A benchmark that runs from a source tree, or with
    ``PYTHONDONTWRITEBYTECODE``, would measure the compiler.
    """
    with TemporaryDirectory() as folder:
        yield {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
