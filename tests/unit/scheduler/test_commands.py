"""``gearmesh scheduler``, ``gearmesh periodic``, ``gearmesh worker --with-scheduler``: real processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import redis
from click.testing import CliRunner

from gearmesh.cli import main
from gearmesh.testing.waiting import eventually

APP = """
from datetime import timedelta
from gearmesh import App, chain
from gearmesh.wire.signature import Signature
app = App(broker={url!r}, backend={url!r}, lock={url!r}, default_queue="work")

@app.task
def add(a: int, b: int) -> int:
    return a + b

tick = app.remote("tick")
app.periodic("@every 1s", tick.s().set(queue="ticks"), name="tick")
app.periodic("0 6 * * *", chain(add.s(1, 2), add.s(3)), name="morning", tz="Asia/Tokyo", catch_up=2)
app.periodic("@monthly", Signature(Name="resize"), catch_up=timedelta(days=1))
app.periodic("0 0 31 2 *", add.s(1, 2), name="never")

broken = App(broker={url!r}, lock="eager")
broken.periodic("@daily", broken.remote("x").s(), catch_up=1)
"""

Run = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def folder(tmp_path: Path, redis_url: str) -> Path:
    (tmp_path / "shop.py").write_text(APP.format(url=redis_url), "utf-8")
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Iterator[Run]:
    """Starts a command in the app's folder; its output goes to ``log``."""
    with ExitStack() as stack:

        def start(*args: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context((folder / "log").open("ab"))
            process = subprocess.Popen(
                [sys.executable, "-m", "gearmesh", *args],
                cwd=folder,
                stderr=log,
                stdout=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            stack.callback(process.wait, 30)
            stack.callback(process.kill)
            return process

        yield start


def ticks(client: redis.Redis) -> int:
    return client.llen("ticks")


def test_scheduler(run: Run, folder: Path, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        process = run("scheduler", "shop:app")
        eventually(lambda: ticks(client) >= 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert "sent  periodic=tick due=20" in (folder / "log").read_text("utf-8")


def test_scheduler_that_cannot_run(run: Run, folder: Path) -> None:
    assert run("scheduler", "shop:broken").wait(30) == 2
    assert "there is no lock to remember the runs that were sent" in (folder / "log").read_text("utf-8")


def test_worker_with_scheduler(run: Run, folder: Path, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        parent = run("worker", "shop:app", "--with-scheduler", "-c", "1", "--grace", "5")
        eventually(lambda: ticks(client) >= 1)
        first = scheduler_of(parent)
        assert len(psutil.Process(parent.pid).children()) == 2
        # It is killed, and there is another one.
        first.kill()
        eventually(lambda: scheduler_of(parent).pid != first.pid)
        before = ticks(client)
        eventually(lambda: ticks(client) > before)
        second = scheduler_of(parent)
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(20) == 0
        assert not second.is_running()
    assert "scheduler process ended with SIGKILL; a new one starts" in (folder / "log").read_text("utf-8")


def test_a_scheduler_ends_with_its_supervisor(run: Run, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        parent = run("worker", "shop:app", "--with-scheduler", "-c", "1")
        eventually(lambda: ticks(client) >= 1)
        child = scheduler_of(parent)
        parent.kill()
        eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_worker_whose_scheduler_cannot_run(run: Run, folder: Path) -> None:
    parent = run("worker", "shop:broken", "--with-scheduler", "-c", "1")
    assert parent.wait(30) == 2
    assert "there is no lock to remember" in (folder / "log").read_text("utf-8")


def scheduler_of(parent: subprocess.Popen[bytes]) -> psutil.Process:
    """The scheduler's process under a supervisor."""

    def find() -> psutil.Process | None:
        for child in psutil.Process(parent.pid).children():
            try:
                if "gearmesh.scheduler.child" in child.cmdline():
                    return child
            except psutil.Error:
                pass
        return None

    found = eventually(find)
    assert found is not None
    return found


def test_periodic(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    shown = CliRunner().invoke(main, ["periodic", "shop:app", "-n", "2"], env={"COLUMNS": "200"})
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    assert shown.exit_code == 0, shown.output
    assert "4 periodic tasks" in shown.output
    lines = shown.stdout.splitlines()
    starts = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert (starts[0], starts[1], starts[-1]) == ("name", "tick", "never")
    (morning,) = [number for number, line in enumerate(lines) if line.startswith("morning")]
    moment = r"\w{3} \d{4}-\d\d-\d\d 06:00:00 \+0900"
    pattern = (
        r"morning +CRON_TZ=Asia/Tokyo 0 6 \* \* \* +the last 2 +add\.s\(1, 2\) \| add\.s\(3\) +"
        rf"{moment}, {moment}"
    )
    assert re.fullmatch(pattern, lines[morning])
    assert re.search(r"resize +@monthly +the last 1 day, 0:00:00 +resize \(signature\)", shown.stdout)
    assert re.search(r"never .*never", lines[-1])
