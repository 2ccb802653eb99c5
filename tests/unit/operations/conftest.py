"""A project in a folder, with its worker as a process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest

import gearmesh

#: The package under test, also for processes in other folders.
SOURCE = str(Path(gearmesh.__file__).parents[1])

TASKS = """
import os
import time
from gearmesh import App

app = App({url!r}, {url!r})

@app.task
def add(a: int, b: int) -> int:
    return a + b

@app.task
def fail(text: str) -> None:
    raise ValueError(text)

@app.task
def nap(seconds: float) -> None:
    time.sleep(seconds)

@app.task
def wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.01)
"""


class Command:
    """A ``gearmesh`` process of a project.

    Attributes:
        process: the process.
        log: the file with its output so far.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def output(self) -> str:
        return self.log.read_text("utf-8", errors="replace")

    def end(self) -> int:
        """Stop it in order; its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)
            raise


Launch = Callable[..., Command]


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Path:
    (tmp_path / "shop.py").write_text(TASKS.format(url=redis_url))
    return tmp_path


@pytest.fixture
def launch(project: Path) -> Iterator[Launch]:
    """Start ``gearmesh`` with these words in the project's folder; it ends with the test."""
    with ExitStack() as stack:

        def start(*words: str, **environment: str) -> Command:
            log = project / f"out{len(list(project.glob('out*.log')))}.log"
            with log.open("w") as file:
                process = subprocess.Popen(
                    [sys.executable, "-m", "gearmesh", *words],
                    cwd=project,
                    stdout=file,
                    stderr=file,
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": SOURCE, **environment},
                )
            command = Command(process, log)
            stack.callback(command.end)
            return command

        yield start


@pytest.fixture
def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def run(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``gearmesh`` with these words in the project's folder, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "gearmesh", *words],
        cwd=project,
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        timeout=60,
    )


def get(port: int, path: str) -> str:
    """The body of a page. Raises OSError, an HTTPError for another status than 200 among them."""
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        text: str = answer.read().decode()
        return text
