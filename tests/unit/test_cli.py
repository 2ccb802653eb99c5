"""The command line as a user sees it: output, exit codes, one-line errors without passwords."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

from gearmesh import App
from gearmesh.cli import main
from gearmesh.errors import ConfigError
from gearmesh.urls import RedisTarget, parse
from gearmesh.worker import Worker
from gearmesh.worker.options import WorkerOptions

TASKS = """
from gearmesh import App
app = App(broker={url!r}, backend={url!r})
"""


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER", "RESULT_BACKEND", "DEFAULT_QUEUE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def worker(redis_url: str) -> Iterator[Worker]:
    app = App(broker=redis_url, backend=redis_url)

    @app.task
    def join(parts: list[str], times: int) -> tuple[str, int]:
        return "".join(parts) * times, times

    @app.task
    def fail(text: str) -> None:
        raise RuntimeError(text)

    with Worker(app, concurrency=2) as worker:
        yield worker
    app.close()


def gearmesh(*args: str, **env: str) -> Result:
    return CliRunner().invoke(main, args, env={"COLUMNS": "200", **env})


def test_version() -> None:
    assert gearmesh("--version").output.startswith("gearmesh, version 0.")


@pytest.mark.parametrize("command", ["worker", "send", "result", "demo"])
def test_help(command: str) -> None:
    assert gearmesh(command, "--help").exit_code == 0


def test_send_and_wait(redis_url: str, worker: Worker) -> None:
    servers = ("--broker", redis_url, "--backend", redis_url)
    sent = gearmesh("send", "join", '[]string:["a","b"]', "int64:2", "--wait", "--timeout", "10", *servers)
    assert sent.exit_code == 0, sent.output
    assert "SUCCESS" in sent.stdout
    assert 'string "abab"' in sent.stdout
    assert "int64 2" in sent.stdout


def test_send_then_result(redis_url: str, worker: Worker) -> None:
    env = {"BROKER": redis_url, "RESULT_BACKEND": redis_url}
    uuid = gearmesh("send", "fail", "string:no way", **env).stdout.strip()
    assert uuid.startswith("task_")
    worker.app.result(uuid).wait(timeout=10)
    shown = gearmesh("result", uuid, **env)
    assert shown.exit_code == 0
    assert uuid in shown.stdout
    assert "FAILURE" in shown.stdout
    assert "no way" in shown.stdout


def test_a_failure_is_exit_code_1(redis_url: str, worker: Worker) -> None:
    sent = gearmesh("send", "fail", "string:no", "--wait", BROKER=redis_url, RESULT_BACKEND=redis_url)
    assert sent.exit_code == 1
    assert "FAILURE" in sent.stdout


def test_an_unknown_uuid_is_exit_code_1(redis_url: str) -> None:
    shown = gearmesh("result", "task_none", "--backend", redis_url)
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert "task_none not found" in shown.stderr


def test_queue(redis_url: str) -> None:
    sent = gearmesh("send", "join", "--queue", "other", BROKER=redis_url)
    assert sent.exit_code == 0, sent.output
    target = parse(redis_url)
    assert isinstance(target, RedisTarget)
    with redis.Redis(**target.to_redis_kwargs()) as client:
        assert [json.loads(body)["Name"] for body in client.lrange("other", 0, -1)] == ["join"]


def test_an_app_by_name(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cli_shop.py").write_text(TASKS.format(url=redis_url))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    sent = gearmesh("send", "join", "--unregistered", "-A", "cli_shop:app")
    assert sent.exit_code == 0, sent.output
    shown = gearmesh("result", "-A", "cli_shop:app", sent.stdout.strip())
    assert "PENDING" in shown.stdout
    sys.modules.pop("cli_shop")


def test_an_app_without_servers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cli_bare.py").write_text("from gearmesh import App\n\napp = App()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    shown = gearmesh("result", "-A", "cli_bare", "task_1")
    assert shown.exit_code == 2
    assert "error: app 'cli_bare' names no broker and no backend: give --backend URL, RESULT" in shown.stderr
    sys.modules.pop("cli_bare")


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["send", "x"], "error: no broker: give --broker URL"),
        (["send", "x", "--broker", "zmq://u:hunter2@h"], "error: broker: unknown URL scheme 'zmq'"),
        (
            ["send", "x", "--broker", "redis://u:hunter2@h:port"],
            "error: broker: 'redis://***@h:port': expected host:port",
        ),
        (["send", "x", "int8:300", "--broker", "eager"], "int8"),
        (["send", "x", "hello", "--broker", "eager"], "expected TYPE:VALUE"),
        (["send", "x", "--wait", "--broker", "memory://cli"], "error: "),
        (["result", "task_1"], "error: no backend: give --backend URL"),
        (
            ["result", "task_1", "--backend", "null"],
            "error: backend 'null' (the command line) keeps no results: give --backend URL",
        ),
        (["worker", "cli_absent:app"], "error: app 'cli_absent:app': there is no module 'cli_absent'"),
        (["worker", "x:app", "-Q", "a,,b"], "has an empty name"),
        (["worker", "x:app", "-c", "0"], "0 is not in the range"),
        (["worker", "x:app", "--lease", "-1"], "error: lease is -1.0, expected seconds above 0"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(args: list[str], problem: str) -> None:
    result = gearmesh(*args)
    assert result.exit_code == 2, result.output
    assert problem in result.stderr
    assert "Traceback" not in result.stderr
    assert "hunter2" not in result.output
    assert result.stdout == ""


def test_debug_shows_the_traceback() -> None:
    result = gearmesh("--debug", "send", "x")
    assert type(result.exception).__name__ == "ConfigError"


def test_worker_options_reach_the_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def run(spec: str, options: WorkerOptions, check: Callable[[App], None]) -> int:
        seen.extend((spec, options))
        with pytest.raises(ConfigError, match="memory of one process"):
            check(App("memory://"))
        check(App("redis://localhost:6379"))
        return 3

    monkeypatch.setattr("gearmesh.worker.startup.run", run)
    monkeypatch.setattr("gearmesh.cli.worker.set_up_logging", lambda level, form: seen.extend((level, form)))
    args = ["-c", "8", "-Q", "a, b", "-Q", "c,a", "--lease", "5", "--grace", "0", "--log-level", "debug"]
    result = gearmesh("worker", "m:app", *args, "--log-format", "json", "--wait-for-broker", "--name", "w1")
    assert result.exit_code == 3, result.output
    assert seen == [
        "DEBUG",
        "json",
        "m:app",
        WorkerOptions(
            concurrency=8,
            queues=("a", "b", "c"),
            lease=5.0,
            grace=0.0,
            log_level="DEBUG",
            log_format="json",
            wait_for_broker=True,
            consumer_tag="w1",
        ),
    ]
