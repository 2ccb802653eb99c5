"""The worker that the benchmarks measure."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["worker_process"]

HERE = Path(__file__).parent


@contextmanager
def worker_process(
    url: str, *options: str, log_level: str = "WARNING", **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``gearmesh worker bench_app:app`` until the block ends.

    Args:
        url: the broker.
        options: of the command line; none: ten threads.
        log_level: of the worker.
        environment: variables beside ``GEARMESH_BENCH_URL``.
    """
    command = [sys.executable, "-m", "gearmesh", "worker", "bench_app:app", *(options or ("-c", "10"))]
    process = subprocess.Popen(
        [*command, "--log-level", log_level],
        cwd=HERE,
        env={**os.environ, "GEARMESH_BENCH_URL": url, **environment},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)
