"""``gearmesh demo``: run the recorded tasks of a Go process in a Python worker, and show them as a table."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from tempfile import TemporaryDirectory
from typing import Any

import click
import redis
from rich.table import Table

from gearmesh.app.app import App
from gearmesh.cli.local_redis import LocalRedis, embedded_redis_server
from gearmesh.cli.options import seconds_option
from gearmesh.cli.output import console
from gearmesh.cli.show import outcome_of, state_text
from gearmesh.cli.waiting import bars
from gearmesh.wire.codec import decode_state
from gearmesh.wire.state import TaskState
from gearmesh.worker import Worker
from gearmesh.worker.stop_signals import leaving_at_signals

__all__ = ["demo"]


@click.command()
@seconds_option("--timeout", "Give up after this time.", default=30.0)
def demo(timeout: float) -> None:
    """Run recorded Go tasks through a real worker.

    Starts a Redis (the embedded one, else redis-server from PATH), fills it with bytes that were recorded from a Go
    service with Machinery, and starts a worker for them.
    """
    recordings = json.loads(files("gearmesh.cli").joinpath("demo_recordings.json").read_text("utf-8"))
    screen = console()
    with (
        leaving_at_signals(),
        TemporaryDirectory(prefix="gearmesh-demo-") as folder,
        LocalRedis(folder, binary=embedded_redis_server()) as server,
        redis.Redis(unix_socket_path=str(server.socket)) as client,
    ):
        screen.print(f"Redis {server.version()}; the bytes that Go wrote are in its list, a worker starts …")
        _push(client, recordings)
        app = _app(server.url, recordings["queue"])
        expected = sum(len(scenario["tasks"]) for scenario in recordings["scenarios"])
        with app, _quiet(), Worker(app, concurrency=4):
            states = _wait(client, expected, time.monotonic() + timeout)
    screen.print(_table(recordings, states))
    done = sum(state.final for state in states.values())
    screen.print(f"{done} of {expected} tasks done, each as a Go caller reads it.")
    sys.exit(done != expected)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the log: one task fails on purpose, and its traceback would look like an error of the demo."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _app(url: str, queue: str) -> App:
    """Make an app with the tasks that the recorded Go process sent."""
    app = App(broker=url, backend=url, default_queue=queue)

    @app.task
    def add(*numbers: int) -> int:
        return sum(numbers)

    @app.task
    def multiply(*numbers: int) -> int:
        return math.prod(numbers)

    @app.task
    def fail(message: str) -> None:
        raise RuntimeError(message)

    @app.task
    def on_error(message: str, *rest: str) -> str:
        return "handled:" + " ".join([message, *rest])

    return app


def _push(client: redis.Redis, recordings: dict[str, Any]) -> None:
    """Write the recordings as Go does: SET each PENDING state and group, RPUSH each signature."""
    for scenario in recordings["scenarios"]:
        for key, state in scenario["states"].items():
            client.set(key, state, ex=3600)
        for message in scenario["messages"]:
            client.rpush(recordings["queue"], message)


def _wait(client: redis.Redis, expected: int, until: float) -> dict[str, TaskState]:
    """Return all states by UUID as soon as ``expected`` of them are final, or ``until`` is past (monotonic seconds)."""
    with bars("tasks") as progress:
        bar = progress.add_task("running", total=expected)
        while True:
            keys = [key for pattern in ("task_*", "chord_*") for key in client.scan_iter(pattern)]
            values = client.mget(keys) if keys else []
            states = [decode_state(value) for value in values if isinstance(value, bytes)]
            done = sum(state.final for state in states)
            progress.update(bar, completed=done)
            if done >= expected or time.monotonic() > until:
                return {state.TaskUUID: state for state in states}
            time.sleep(0.05)


def _table(recordings: dict[str, Any], states: dict[str, TaskState]) -> Table:
    table = Table("sent by Go", "task", "uuid", "state", "result")
    recorded = {task["uuid"] for scenario in recordings["scenarios"] for task in scenario["tasks"]}
    fresh = [state for uuid, state in states.items() if uuid not in recorded]
    for scenario in recordings["scenarios"]:
        title = scenario["title"]
        for task in scenario["tasks"]:
            name, uuid = task["task"], task["uuid"]
            state = states.get(uuid) or next((each for each in fresh if each.TaskName == name), None)
            shown = state.TaskUUID if state else uuid
            table.add_row(title, name, shown, state_text(state), outcome_of(state))
            title = ""
        table.add_section()
    return table
