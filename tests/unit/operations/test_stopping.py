"""Signals end every command in an orderly way, whenever they come."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.unit.operations.conftest import TASKS, Launch

from gearmesh.config.local import local_url
from gearmesh.testing.waiting import eventually

#: A command under the reloader. It notes its start; at SIGTERM it waits for a file, and ends with exit code 3.
COMMAND = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
def end(number, frame):
    (folder / "told").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    sys.exit(3)
if sys.argv[2] == "handles":
    signal.signal(signal.SIGTERM, end)
(folder / "begun").touch()
time.sleep(600)
"""
RELOADER = """
import pathlib, sys
from gearmesh.cli.reloading import Reloader
folder = pathlib.Path(sys.argv[2])
sys.exit(Reloader([sys.executable, *sys.argv[1:]], folder).run())
"""
#: A worker of threads, whose process gets the signal in another thread than the main one, which alone runs handlers.
SIGNALLED_ELSEWHERE = """
import signal, threading
from shop import app
from gearmesh.worker import Worker

worker = Worker(app, concurrency=1)
signal.signal(signal.SIGTERM, lambda number, frame: threading.Thread(target=worker.stop).start())

def send():
    worker.ready.wait()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

threading.Thread(target=send).start()
worker.run()
print("ended")
"""
#: Signals its own process at the moment at which the server of a LocalRedis has been forked.
SIGNALLED_AT_THE_START = """
import signal, sys, threading
from gearmesh.cli.local_redis import LocalRedis
from gearmesh.worker.stop_signals import leaving_at_signals

def watch(frame, event, function):
    if event == "c_return" and function.__name__ == "fork_exec":
        signal.raise_signal(signal.SIGTERM)

threading.setprofile(watch)
sys.setprofile(watch)
with leaving_at_signals(), LocalRedis("."):
    threading.Event().wait(60)
"""
#: Runs the demo, which gets a signal while it waits for its tasks.
SIGNALLED_DEMO = """
import importlib, signal, sys
from gearmesh.cli import main

def wait(client, *rest):
    print("redis", client.info("server")["process_id"], flush=True)
    signal.raise_signal(int(sys.argv[1]))

importlib.import_module("gearmesh.cli.demo")._wait = wait
main(["demo"])
"""


def begin(folder: Path, *, handles: bool) -> subprocess.Popen[bytes]:
    """Start a command under a reloader."""
    (folder / "command").write_text(COMMAND)
    words = [str(folder / "command"), str(folder), "handles" if handles else "leaves"]
    (folder / "reloader").write_text(RELOADER)
    return subprocess.Popen([sys.executable, str(folder / "reloader"), *words])


def test_a_terminal_that_closes_ends_a_worker_that_reloads(launch: Launch) -> None:
    worker = launch("worker", "shop:app", "--autoreload", "-c", "1")
    eventually(lambda: "consuming from" in worker.output)
    worker.process.send_signal(signal.SIGHUP)
    assert worker.process.wait(60) == 0
    assert worker.output.endswith("supervisor: stopped\n")


def test_a_scheduler_ends_with_its_terminal(launch: Launch) -> None:
    scheduler = launch("scheduler", "shop:app")
    eventually(lambda: "no lock configured" in scheduler.output)
    scheduler.process.send_signal(signal.SIGHUP)
    assert scheduler.process.wait(60) == 0


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_signal_interrupts_a_connection_to_a_server_that_does_not_answer(
    launch: Launch, project: Path, scheme: str
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        (project / "shop.py").write_text(TASKS.format(url=f"{scheme}://127.0.0.1:{server.getsockname()[1]}"))
        worker = launch("worker", "shop:app")
        server.settimeout(60)
        with closing(server.accept()[0]) as connection:
            assert connection.recv(1)
            worker.process.terminate()
            assert worker.process.wait(60) == 0
    assert worker.output == ""


def test_a_reloader_is_stopped_before_its_command_handles_signals(tmp_path: Path) -> None:
    with begin(tmp_path, handles=False) as reloader:
        eventually((tmp_path / "begun").exists)
        reloader.terminate()
        assert reloader.wait(60) == 0


def test_a_reloader_starts_nothing_after_a_signal(tmp_path: Path) -> None:
    with begin(tmp_path, handles=True) as reloader:
        eventually((tmp_path / "begun").exists)
        (tmp_path / "module.py").touch()
        eventually((tmp_path / "told").exists)
        reloader.terminate()
        (tmp_path / "go").touch()
        assert reloader.wait(60) == 3, "the exit code of the only run"


def test_a_worker_ends_whichever_thread_gets_the_signal(project: Path) -> None:
    code = SIGNALLED_ELSEWHERE
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, stdout=subprocess.PIPE, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "ended\n")


@pytest.mark.usefixtures("redis_server")  # skips, or fails under CI, where there is no Redis
def test_a_signal_while_redis_starts_leaves_no_redis(tmp_path: Path) -> None:
    code = SIGNALLED_AT_THE_START
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=60)
    assert done.returncode == 128 + signal.SIGTERM
    assert local_url(tmp_path) is None


@pytest.mark.usefixtures("redis_server")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_stopped_leaves_no_redis(
    tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED_DEMO, str(int(number))],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.returncode == 128 + number
    server = int(done.stdout.split("redis")[-1])
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
    assert not list(tmp_path.glob("gearmesh-demo-*"))
