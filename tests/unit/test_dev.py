"""``gearmesh dev``: a project's own Redis, worker and scheduler, as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gearmesh import App
from gearmesh.cli.local_redis import LocalRedis
from gearmesh.config.local import FOLDER, local_url, socket_of
from gearmesh.config.table import SETTINGS
from gearmesh.errors import GearmeshError
from gearmesh.testing.waiting import eventually

TASKS = """
import logging
from gearmesh import App

app = App({arguments})
log = logging.getLogger("shop")

@app.task
def add(a: int, b: int) -> int:
    log.info("adding")
    return a + b
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def _bare(redis_server: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting in the environment, nothing in the folder. Skips, or fails under CI, where there is no Redis."""
    for setting in SETTINGS.values():
        for name in setting.names:
            monkeypatch.delenv(name.env or "-", raising=False)
    monkeypatch.delenv("GEARMESH_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(TASKS.format(arguments=""))
    return tmp_path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the command in the project's folder; ended with the test."""
    with ExitStack() as stack:

        def start(*words: str) -> subprocess.Popen[str]:
            log = stack.enter_context((tmp_path / "out.log").open("a"))
            process = subprocess.Popen(
                [sys.executable, "-m", "gearmesh", *words], cwd=tmp_path, stdout=log, stderr=log, text=True
            )
            stack.callback(_end, process)
            return process

        yield start
    url = local_url(tmp_path)
    if url is not None:  # a killed one has left its server behind
        with ask(tmp_path) as client, suppress(redis.ConnectionError):
            client.shutdown(nosave=True)


def ask(project: Path) -> redis.Redis:
    """The project's Redis; no answer is an answer."""
    return redis.Redis(unix_socket_path=str(socket_of(project)), retry=Retry(NoBackoff(), 0))


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(20)


def gearmesh(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gearmesh", *words], cwd=project, capture_output=True, text=True, timeout=60
    )


def output(project: Path) -> str:
    return (project / "out.log").read_text()


def test_a_project_without_a_server(project: Path, start: Start) -> None:
    process = start("dev", "shop:app", "-c", "2", "--log-format", "json")
    eventually(lambda: local_url(project))
    sent = gearmesh(project, "send", "add", "int64:1", "int64:2", "--wait", "--timeout", "30")
    assert sent.returncode == 0, sent.stderr + output(project)
    assert "int64 3" in sent.stdout
    uuid = next(word for word in sent.stdout.split() if word.startswith("task_"))
    assert "SUCCESS" in gearmesh(project, "result", uuid).stdout
    records = [json.loads(line) for line in output(project).splitlines() if line.startswith("{")]
    (adding,) = [record for record in records if record["message"] == "adding"]
    assert (adding["logger"], adding["task"], adding["uuid"]) == ("shop", "add", uuid)
    with App() as app:
        assert app.config.origin("broker") == "gearmesh dev"
        assert app.result(uuid).get(timeout=60) == 3

    second = gearmesh(project, "dev", "shop:app")
    assert second.returncode == 2
    assert f"runs in this folder already (process {process.pid})" in second.stderr

    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0, output(project)
    assert local_url(project) is None
    assert (project / FOLDER / ".gitignore").read_text() == "*\n"
    none = gearmesh(project, "send", "add")
    assert none.returncode == 2
    assert "run gearmesh dev in this folder" in none.stderr

    start("dev", "shop:app")  # its data were kept
    eventually(lambda: local_url(project))
    assert "SUCCESS" in gearmesh(project, "result", uuid).stdout


def test_a_terminal_that_closes_stops_all_of_it(project: Path, start: Start) -> None:
    process = start("dev", "shop:app", "-c", "2")
    eventually(lambda: "consuming from" in output(project))
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 0
    assert output(project).endswith("supervisor: stopped\n")
    assert local_url(project) is None


def test_dev_replaces_the_server_of_a_killed_dev_and_keeps_its_data(project: Path, start: Start) -> None:
    first = start("dev", "shop:app")
    eventually(lambda: local_url(project))
    with ask(project) as client:
        client.set("kept", b"1")
        orphan = int(client.info("server")["process_id"])
        first.kill()
        first.wait()
        assert local_url(project), "the server has outlived it"
        start("dev", "shop:app")

        def pid() -> int:
            with suppress(redis.ConnectionError, redis.BusyLoadingError):
                client.ping()  # unlike INFO, it is answered once the data are loaded
                return int(client.info("server")["process_id"])
            return orphan

        eventually(lambda: pid() != orphan)
        assert client.get("kept") == b"1"


def test_an_app_with_a_broker_of_its_own(project: Path, start: Start, redis_url: str) -> None:
    (project / "shop.py").write_text(TASKS.format(arguments=f"{redis_url!r}, {redis_url!r}"))
    process = start("dev", "shop:app")
    with App(redis_url, redis_url) as app:
        assert app.remote("add", "int64", "int64").delay(1, 2).get(timeout=30) == 3
    assert local_url(project) is None
    assert f"using broker {redis_url} (from the app's code); not starting a local Redis" in output(project)
    process.terminate()
    assert process.wait(30) == 0


def test_queues_and_limits_of_the_app_s_tasks(project: Path, start: Start) -> None:
    """Tasks with queues of their own run, and one with a hard limit: dev chooses the queues and the pool."""
    with (project / "shop.py").open("a") as file:
        file.write("""
@app.task(queue="media", hard_limit=30)
def convert(name: str) -> str:
    return name
""")
    process = start("dev", "shop:app", "-c", "1", "-l", "warning")
    eventually(lambda: local_url(project))
    sent = gearmesh(project, "send", "-A", "shop", "convert", "string:x", "--queue", "media", "--wait")
    assert sent.returncode == 0, sent.stderr + output(project)
    sent = gearmesh(project, "send", "shop:app", "add", "int64:1", "int64:2", "--wait")
    assert sent.returncode == 0, sent.stderr + output(project)
    assert "using --pool processes -c 1: task 'convert' has a hard limit" in output(project)
    process.terminate()
    assert process.wait(30) == 0


def test_the_server_is_started_again(tmp_path: Path) -> None:
    with LocalRedis(tmp_path) as server, ask(tmp_path) as client:
        assert server.version()
        client.set("kept", b"1")
        # Written to the file at once; synced within the second.
        first = server.pid
        os.kill(first, signal.SIGKILL)
        eventually(lambda: server.pid not in (0, first))

        def kept() -> bytes:
            with suppress(redis.ConnectionError, redis.BusyLoadingError):
                return client.get("kept") or b""
            return b""

        assert eventually(kept) == b"1"
        assert local_url(tmp_path) == server.url
    assert local_url(tmp_path) is None
    server.close()


def test_a_stale_socket_and_lock(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "lock").write_text("1")
    with LocalRedis(tmp_path) as server:
        assert server.pid
        with pytest.raises(GearmeshError, match=f"already \\(process {os.getpid()}\\)"), LocalRedis(tmp_path):
            pass
        assert server.pid, "the second has not ended it"
        os.link(server.socket, folder / "stale")
    os.rename(folder / "stale", server.socket)
    assert server.socket.exists()
    assert local_url(tmp_path) is None
    with LocalRedis(tmp_path) as server:
        assert local_url(tmp_path) == server.url


def test_a_server_that_does_not_start(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "appendonly.aof").mkdir()
    (folder / "appendonlydir").write_text("in the way")
    began = time.monotonic()
    with pytest.raises(GearmeshError, match="Redis did not start in"), LocalRedis(tmp_path):
        pass
    assert time.monotonic() - began < 20


def test_a_folder_whose_path_is_too_long(tmp_path: Path) -> None:
    project = tmp_path / ("x" * 120)
    project.mkdir()
    with LocalRedis(project) as server:
        assert local_url(project) == server.url
        assert (project / FOLDER / "redis.log").exists()
