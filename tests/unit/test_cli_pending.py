"""``gearmesh result``, ``revoke``, ``send --wait`` and ``doctor`` say why a task stays PENDING, on a real Redis."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

from gearmesh import App
from gearmesh.cli import main
from gearmesh.config.table import SETTINGS
from gearmesh.testing.contracts.support import Tap
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.wire.names import QueueKeys

QUEUE = "machinery_tasks"


@pytest.fixture(autouse=True)
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, redis_url: str) -> Callable[..., Result]:
    """Run a command with this test's server in the environment."""
    for setting in SETTINGS.values():
        for name in setting.names:
            monkeypatch.delenv(name.env or "-", raising=False)
    monkeypatch.delenv("GEARMESH_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BROKER", redis_url)
    monkeypatch.setenv("RESULT_BACKEND", redis_url)
    return lambda *words: CliRunner().invoke(main, words)


@pytest.fixture
def app(redis_url: str) -> Iterator[App]:
    """An app of the server in the environment."""
    with App(redis_url, redis_url) as app:
        yield app


@pytest.fixture
def holder(app: App, redis_url: str) -> Iterator[Tap]:
    """A consumer with one delivery, whose last heartbeat was 20 s ago, and one message behind it in the queue."""
    app.remote("held").apply_async(task_id="task_held")
    with contextlib.closing(Tap(open_connection(redis_url), (QUEUE,), 1)) as tap:
        tap.take(1)
        tap.verbs.heartbeat(tap.name, [QUEUE])
        with redis.Redis.from_url(redis_url) as client:
            client.hincrby(QueueKeys(QUEUE).consumers, tap.name, -20_000)
        app.remote("waits").apply_async(task_id="task_waits")
        yield tap


def test_a_consumer_is_heard_of_from_its_first_fetch_on(app: App, redis_url: str) -> None:
    """Its process may be stopped before the first heartbeat, which is due after a third of the lease."""
    app.remote("waits").delay()
    with open_connection(redis_url, consumer="new") as connection:
        channel = connection.channel()
        assert channel.basic_get(QUEUE) is not None
        (consumer,) = channel.consumers(QUEUE)
        assert consumer.silent_s is not None
        assert consumer.silent_s < 60


def test_a_delivered_task_names_its_silent_consumer(holder: Tap, call: Callable[..., Result]) -> None:
    told = re.sub(r"\b[2-9]\d s ago", "N s ago", call("result", "task_held", "task_waits").stderr)
    assert (
        f"task_held is PENDING: it was delivered to consumer {holder.name}, which holds 1 message and was last heard "
        "of N s ago: its process is stopped, frozen or dead" in told
    )
    assert (
        f"task_waits is PENDING: it waits in queue {QUEUE} behind 0 messages; no worker of that queue gives a sign "
        f"of life: consumer {holder.name} was last heard of N s ago" in told
    )


def test_the_story_of_a_task_whose_consumer_is_silent(
    holder: Tap, call: Callable[..., Result], redis_url: str
) -> None:
    told = " ".join(
        call("explain", "task_held", "--broker", redis_url, "--backend", redis_url).stdout.split()
    )
    told = re.sub(r"\b[2-9]\d s ago", "N s ago", told)
    assert (
        f"Its message was delivered from queue {QUEUE} to the consumer {holder.name}, which was last heard of N s ago: "
        "its process is stopped, frozen or dead, or cannot reach the broker. Another worker of the queue takes over "
        "its messages after a lease (30 s). If the process is dead, one on the same machine does so within 2 s"
        in told
    )
    assert "runs it or is about to" not in told
    with redis.Redis.from_url(redis_url) as client:
        client.hset(QueueKeys(QUEUE).consumers, holder.name, 0)
    dead = " ".join(
        call("explain", "task_held", "--broker", redis_url, "--backend", redis_url).stdout.split()
    )
    assert (
        f"the consumer {holder.name}, which is known to be dead: its process has ended. A worker of the queue takes "
        "over its messages: on the same machine within 2 s, on another one after a lease (30 s)." in dead
    )


def test_the_doctor_finds_a_silent_consumer_that_holds_messages(
    holder: Tap, call: Callable[..., Result]
) -> None:
    result = call("doctor", "--json")
    assert result.exit_code == 1
    problems = [each["text"] for each in json.loads(result.stdout) if each["level"] == "problem"]
    assert f"consumer {holder.name}, which holds 1 message and was last heard of 2" in problems[0]
    (count,) = json.loads(call("queues", QUEUE, "--json").stdout)
    assert (count["consumers"], count["silent"]) == (0, 1)


def test_a_consumer_with_heartbeats_is_no_problem(holder: Tap, call: Callable[..., Result]) -> None:
    holder.verbs.heartbeat(holder.name, [QUEUE])
    told = call("result", "task_held").stderr
    assert (
        f"{holder.name}, which holds 1 message and was last heard of 0 s ago: it has not begun to run this task"
        in told
    )
    doctor = call("doctor")
    assert (doctor.exit_code, f"consumer {holder.name}" in doctor.stdout) == (0, False)
    assert "1 message waits, and its 1 consumer took none for 1 s" in doctor.stdout


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="the system does not tell that a process is stopped")
def test_a_stopped_worker_process_is_found_though_its_supervisor_lives(
    app: App, call: Callable[..., Result], tmp_path: Path, redis_url: str
) -> None:
    """The supervisor sends no heartbeats for it, so its lease ends as that of a dead process.

    The command gives the reason from two fifths of the lease until its end. A busy machine missed 1.8 s.
    """
    (tmp_path / "shop.py").write_text(
        "from gearmesh import App\napp = App(lease=12.0)\n@app.task\ndef pack() -> None: ...\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(tmp_path)])}
    worker = subprocess.Popen(
        [sys.executable, "-m", "gearmesh", "worker", "shop", "-c", "1"],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert worker.stderr is not None
    child = 0
    try:
        for line in worker.stderr:
            if "consuming from" in line:
                break
        (child,) = map(int, Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split())
        with redis.Redis.from_url(redis_url) as client:
            eventually(
                lambda: any(int(beat) > 10**12 for beat in client.hvals(QueueKeys(QUEUE).consumers)),  # type: ignore[union-attr]
                what="a heartbeat",
            )
        os.kill(child, signal.SIGSTOP)
        sent = app.remote("pack").delay()
        eventually(
            lambda: "its process is stopped" in call("result", sent.uuid, "-A", "shop").stderr,
            what="the reason",
        )
        eventually(lambda: "a worker process is stopped" in worker.stderr.readline(), what="a warning")
        os.kill(child, signal.SIGCONT)
        assert sent.get(timeout=10) is None
    finally:
        if child:
            os.kill(child, signal.SIGCONT)
        worker.terminate()
        worker.communicate(timeout=20)


def test_a_parked_task_is_not_said_to_wait_for_a_worker(app: App, call: Callable[..., Result]) -> None:
    from gearmesh.worker import Worker

    with Worker(app, concurrency=1):
        # It is parked for 0.8 s from about 0.96 s on: the look is in the middle of that.
        late = call("send", "nobody", "--wait", "--timeout", "1.4")
    assert late.exit_code == 3
    assert (
        "the task is PENDING, it is parked: no worker of queue machinery_tasks that received it has"
        in late.stderr
    )


def test_a_revoked_task_says_so_before_it_runs(app: App, call: Callable[..., Result]) -> None:
    app.remote("later").apply_async(task_id="task_later", countdown=3600)
    done = call("revoke", "task_later", "task_unknown")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [
        "revoked 1 task",
        "no task task_unknown is known: it was never sent, or it has expired. The revocation is recorded all the same",
    ]
    told: list[dict[str, Any]] = json.loads(call("revoke", "task_later", "task_unknown", "--json").stdout)
    assert [(each["revoked"], each["known"]) for each in told] == [(True, True), (True, False)]
    shown = call("result", "task_later")
    reason = (
        "it is revoked and will not run: the gearmesh worker that gets its message makes it FAILURE with the error "
        "'revoked'. Until then it waits for its ETA, in 59 min"
    )
    assert shown.stderr.strip() == f"task_later is PENDING: {reason}"
    (state,) = json.loads(call("result", "task_later", "--json").stdout)
    assert state["reason"] == reason


def test_result_takes_a_broker_and_a_queue(
    app: App, call: Callable[..., Result], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.remote("waits").apply_async(task_id="task_waits", queue="other")
    monkeypatch.delenv("BROKER")
    told = call("result", "task_waits", "--broker", redis_url, "--queue", "other").stderr
    assert told.startswith("task_waits is PENDING: it waits in queue other behind 0 messages")
