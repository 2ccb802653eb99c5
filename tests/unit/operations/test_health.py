"""Notes of health, systemd's notifications, and the probe."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from tests.unit.operations.conftest import Launch

from gearmesh import App
from gearmesh.cli import main
from gearmesh.health import HealthFile, HealthNote, health_notes
from gearmesh.scheduler import Scheduler
from gearmesh.scheduler.monitor import SchedulerMonitor
from gearmesh.systemd import ServiceNotifier
from gearmesh.testing.waiting import eventually


@pytest.fixture
def notify(tmp_path: Path) -> Iterator[socket.socket]:
    """systemd's end of the notifications."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(60)
        yield listening


@pytest.fixture
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own for the files of processes."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def test_systemd_is_told_once_of_the_start_and_again_of_life(notify: socket.socket) -> None:
    environment = {
        "NOTIFY_SOCKET": notify.getsockname(),
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
    }
    notifier = ServiceNotifier(environment)
    assert environment == {}
    assert notifier.interval_s == 10
    for _ in range(2):
        notifier.ready()
    notifier.alive("consuming;\n2 tasks running")
    notifier.stopping()
    said = [notify.recv(1000).decode() for _ in range(3)]
    assert said == ["READY=1", "WATCHDOG=1\nSTATUS=consuming; 2 tasks running", "STOPPING=1"]


def test_an_abstract_socket() -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        name = f"gearmesh-test-{os.getpid()}-{time.monotonic_ns()}"
        listening.bind("\0" + name)
        ServiceNotifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert listening.recv(100) == b"READY=1"


def test_the_notifier_repeats_a_state_that_systemd_had_no_room_for(notify: socket.socket) -> None:
    notifier = ServiceNotifier({"NOTIFY_SOCKET": notify.getsockname()})
    sent = 0
    while notifier._send("WATCHDOG=1"):
        sent += 1
    notifier.ready()
    assert {notify.recv(100) for _ in range(sent)} == {b"WATCHDOG=1"}
    for _ in range(2):
        notifier.ready()
    notifier.stopping()
    assert [notify.recv(100) for _ in range(2)] == [b"READY=1", b"STOPPING=1"]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "x"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"},
    ],
)
def test_without_systemd_nothing_happens(environment: dict[str, str]) -> None:
    notifier = ServiceNotifier(environment)
    assert notifier.interval_s == float("inf")
    notifier.ready()
    notifier.alive("x")
    notifier.stopping()


def probe(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["healthcheck", *words])
    return done.exit_code, done.output.strip()


def test_the_probe(temp: Path) -> None:
    assert probe() == (1, "no worker and no scheduler runs here")
    file = HealthFile("worker", "w1")
    file.write(ready=False, reason="the broker is unreachable")
    assert probe() == (0, "ok")
    assert probe("--ready") == (1, f"worker w1 (process {os.getpid()}): the broker is unreachable")
    assert probe("--pid", "1")[0] == 1
    file.write(ready=True)
    assert probe("--ready") == (0, "ok")
    (note,) = msgspec.json.decode(probe("--json")[1])
    assert (note["name"], note["ready"], note["lives"]) == ("w1", True, True)
    file.remove()
    file.remove()
    assert probe()[0] == 1


def test_a_service_that_hangs_and_one_that_is_gone(temp: Path) -> None:
    file = HealthFile("worker", "w1")
    file.write(ready=True)
    (path,) = (temp / f"gearmesh-{os.getuid()}" / "health").iterdir()
    note = msgspec.json.decode(path.read_bytes(), type=HealthNote)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(note, at=note.at - 100)))
    assert probe()[0] == 1
    assert "has noted nothing for 1" in probe()[1]
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(note, pid=2**22 + 1)))
    assert health_notes() == []
    assert not path.exists()
    # The process id of a service that was killed is now of another program: of this test.
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(note, began="1")))
    assert probe() == (1, "no worker and no scheduler runs here")
    assert not path.exists()
    path.write_bytes(b"nonsense")
    assert health_notes() == []


def test_a_worker_under_systemd(launch: Launch, notify: socket.socket, temp: Path) -> None:
    worker = launch(
        "worker", "shop:app", "--pool", "processes", "-c", "2",
        NOTIFY_SOCKET=notify.getsockname(), WATCHDOG_USEC="3000000", TMPDIR=str(temp),
    )  # fmt: skip
    said: list[str] = []
    while "READY=1" not in said:
        said.append(notify.recv(1000).decode())
    assert set(said) - {"READY=1"} <= {text for text in said if text.startswith("WATCHDOG=1\nSTATUS=")}
    assert "not all of its processes consume" in said[0]
    assert "consuming; 0 tasks running" in notify.recv(1000).decode()
    eventually(lambda: probe("--ready") == (0, "ok"))
    worker.process.terminate()
    while notify.recv(1000) != b"STOPPING=1":
        pass
    assert worker.process.wait(60) == 0
    assert probe()[0] == 1


def test_code_that_changes_starts_the_worker_again(launch: Launch, project: Path) -> None:
    worker = launch("worker", "shop:app", "--autoreload", "-c", "1")
    eventually(lambda: worker.output.count("consuming from") == 1)
    tasks = (project / "shop.py").read_text()
    (project / "shop.py").write_text("1 / 0\n")
    eventually(lambda: "ZeroDivisionError" in worker.output and "waiting for a change" in worker.output)
    (project / "shop.py").write_text(tasks + "\n@app.task\ndef another() -> None: ...\n")
    eventually(lambda: worker.output.count("consuming from") == 2)
    assert "another" in worker.output
    assert worker.output.count("shop.py has changed") == 2
    assert worker.end() == 0


def test_a_scheduler_lives_and_says_so(launch: Launch, notify: socket.socket, temp: Path) -> None:
    scheduler = launch(
        "scheduler", "shop:app",
        NOTIFY_SOCKET=notify.getsockname(), WATCHDOG_USEC="300000", TMPDIR=str(temp),
    )  # fmt: skip
    assert [notify.recv(100) for _ in range(3)] == [b"READY=1", *[b"WATCHDOG=1\nSTATUS=scheduling"] * 2]
    assert probe("--ready", "--pid", str(scheduler.process.pid)) == (0, "ok")
    (note,) = msgspec.json.decode(probe("--json")[1])
    assert (note["role"], note["pid"]) == ("scheduler", scheduler.process.pid)
    scheduler.process.terminate()
    while notify.recv(100) != b"STOPPING=1":
        pass
    assert scheduler.process.wait(60) == 0
    assert probe()[0] == 1


def test_a_scheduler_whose_servers_are_away_lives_and_is_not_ready(temp: Path) -> None:
    monitor = SchedulerMonitor("s1", ServiceNotifier({}))
    assert 4 < monitor.beat("") <= 5
    assert probe("--ready") == (0, "ok")
    monitor.beat("the lock is unreachable")
    assert probe() == (0, "ok")
    assert probe("--ready") == (1, f"scheduler s1 (process {os.getpid()}): the lock is unreachable")
    monitor.beat("")
    assert probe("--ready") == (0, "ok")
    monitor.close()
    assert probe()[0] == 1


def test_a_schedulers_loop_names_the_unreachable_server(redis_url: str) -> None:
    told: list[str] = []

    def beat(reason: str) -> float:
        told.append(reason)
        return 0.01

    with App(redis_url) as app:
        scheduler = Scheduler(app, beat=beat).start()
        eventually(lambda: len(told) > 3)
        scheduler._lock_outage.failed("no route")
        eventually(lambda: told[-1] == "the lock is unreachable")
        scheduler._lock_outage.worked()
        scheduler._sending_outage.failed("no route")
        eventually(lambda: told[-1] == "the broker or the result backend is unreachable")
        assert scheduler.stop()
