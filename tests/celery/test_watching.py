"""Watchers of workers: two workers that know each other, ``celery inspect ping``, ``celery events``, Flower."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from celery import Celery

from gearmesh.testing.waiting import eventually

from .processes import CeleryProcess
from .project import make_app

NAMES = ("one", "two")


@pytest.fixture(scope="module")
def url(fresh_redis: Callable[[], str]) -> str:
    return fresh_redis()


@pytest.fixture(scope="module")
def workers(url: str) -> Iterator[dict[str, CeleryProcess]]:
    """Two of one app, with gossip and mingle as Celery has them by default."""

    def worker(name: str) -> CeleryProcess:
        words = ("worker", "-P", "threads", "-c", "2", "-l", "debug", "-n", f"{name}@here")
        return CeleryProcess(*words, broker=url, ready=f"{name}@here ready.")

    with worker("one") as one, worker("two") as two:
        yield {"one": one, "two": two}


@pytest.fixture(scope="module")
def app(url: str, workers: Any) -> Iterator[Celery]:
    app = make_app(url)
    yield app
    app.close()


def celery(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user types it."""
    env = os.environ | {"PROJECT_BROKER": url, "C_FORCE_ROOT": "1"}
    command = [sys.executable, "-m", "celery", "-A", "tests.celery.project:app", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)


def test_two_workers_mingle_and_gossip(workers: dict[str, CeleryProcess], app: Celery) -> None:
    workers["two"].said("mingle: sync with 1 nodes")
    workers["two"].said("mingle: sync complete")
    workers["one"].said("two@here joined the party")
    workers["two"].said("one@here joined the party")
    results = [app.send_task("nap", (0.05,)) for _ in range(20)]
    assert [result.get(timeout=20) for result in results] == [0.05] * 20
    assert all("Task nap" in worker.log() for worker in workers.values())  # both had some


def test_revoking_is_heard_by_all(workers: dict[str, CeleryProcess], app: Celery) -> None:
    app.control.revoke("a-task")
    heard = eventually(lambda: _both(app.control.inspect(timeout=2.0).revoked()))
    assert all("a-task" in ids for ids in heard.values())


def _both(answers: Any) -> Any:
    return answers if answers and len(answers) == len(NAMES) else None


def test_celery_inspect_ping(url: str, workers: Any) -> None:
    done = celery(url, "inspect", "ping", "--timeout", "5")
    assert done.returncode == 0, done.stderr
    assert "one@here: OK" in done.stdout
    assert "two@here: OK" in done.stdout
    assert "2 nodes online." in done.stdout


def test_celery_events(url: str, workers: Any, app: Celery) -> None:
    with CeleryProcess("events", "--dump", broker=url, ready="") as events:

        def there() -> bool:
            result = app.send_task("add", (1, 2))
            result.get(timeout=10)
            lines = [line for line in events.log().splitlines() if result.id in line]
            said = "\n".join(lines)
            return all(word in said for word in ("task received", "task started", "task succeeded"))

        eventually(there)
        eventually(lambda: "heartbeat" in events.log())


@pytest.mark.slow
@pytest.mark.skipif(find_spec("flower") is None, reason="no Flower: pip install flower")
def test_flower(url: str, workers: Any, app: Celery) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("flower", "--address=127.0.0.1", f"--port={port}")
    env = {"FLOWER_UNAUTHENTICATED_API": "true"}
    with CeleryProcess(*words, broker=url, env=env, ready="Visit me at") as flower:

        def ask(path: str) -> Any:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=10) as answer:
                return json.load(answer)

        assert set(eventually(lambda: _both(ask("workers?refresh=1")))) == {"one@here", "two@here"}

        def seen() -> Any:
            result = app.send_task("add", (20, 22))
            assert result.get(timeout=10) == 42
            task = ask("tasks?limit=100").get(result.id)
            return task if task and task["state"] == "SUCCESS" else None

        task = eventually(seen)
        assert (task["name"], task["result"]) == ("add", "42")
        os.kill(flower.pid, signal.SIGINT)
