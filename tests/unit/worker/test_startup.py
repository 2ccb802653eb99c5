"""A worker's first process loads the app at the same time as the supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gearmesh import App
from gearmesh.scoreboard import crash_report
from gearmesh.testing.waiting import eventually
from gearmesh.worker.child_process import EXIT_CONFIG
from gearmesh.worker.heartbeater import Heartbeater
from gearmesh.worker.limits import Limits
from gearmesh.worker.managed_process import SETTLE_DELAY_S
from gearmesh.worker.monitor import Monitor
from gearmesh.worker.options import WorkerOptions
from gearmesh.worker.stop_signals import StopSignals
from gearmesh.worker.worker_child import WorkerChild
from gearmesh.worker.worker_process import WorkerProcess

#: Notes that a process imports the app, and waits until a second one does, too.
MEET = """
import os, pathlib, sys, time
here = pathlib.Path(__file__).parent
is_child = "gearmesh.worker.child" in sys.orig_argv
(here / f"{os.getpid()}.importing").touch()
deadline = time.monotonic() + 60
while len(list(here.glob("*.importing"))) < 2:
    assert time.monotonic() < deadline, "no other process imports the app"
    time.sleep(0.005)
from gearmesh import App
"""
BROKEN = "raise RuntimeError('the shelf is empty')"
LIMITED = """
app = App(broker="redis://127.0.0.1:1/0")
@app.task(hard_limit=1)
def slow() -> None: pass
"""
#: Keeps a stream's ``write`` and a handler on the stream, as structlog and the log settings of an app do.
TALKATIVE = """
import logging, warnings
write, shop = sys.stdout.write, logging.getLogger("shop")
handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter("handled: %(message)s"))
shop.addHandler(handler)

def say(what):
    print("printed", what)
    write(f"written {what}\\n")
    shop.warning("logged %s", what)
    warnings.warn(f"warned {what}")

say("at the import")
app = App()

@app.task
def talk() -> None:
    say("by the task")
"""
WAYS_TO_SAY = ("printed", "written", "handled: logged", "WARNING shop: logged", "UserWarning: warned")
UNREACHABLE = "app = App(broker='redis://127.0.0.1:1/0')"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of the commands. Their scoreboards are in a folder of its own beside it."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path / "shop")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3] / "compat"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    yield tmp_path / "shop"
    for pid in _pids(tmp_path / "shop"):
        eventually(lambda pid=pid: not _lives(pid), what=f"the end of process {pid}")
    left = [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()]
    assert not left, "a scoreboard is left"


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "gearmesh", "worker", "shop_app:app", *args]


@contextmanager
def listened(folder: Path, *args: str) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """Run the command; yield its process, and a function that returns the output of all its processes so far."""
    log = folder / "said.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command(*args), stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process, log.read_text
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("code", "args", "text"),
    [
        (BROKEN, [], "RuntimeError: the shelf is empty"),
        (BROKEN, ["--pool", "processes", "-c", "3"], "RuntimeError: the shelf is empty"),
        ("app = App(broker='memory://')", [], "keeps messages in the memory of one process"),
        (LIMITED, [], "has a hard limit of 1 s"),
        (UNREACHABLE, [], "cannot be reached"),
    ],
    ids=["broken", "broken-processes", "memory", "limit", "unreachable"],
)
def test_an_error_of_the_app_is_shown_once(folder: Path, code: str, args: list[str], text: str) -> None:
    """And the first process has imported the app while the supervisor did, else neither would have come so far."""
    (folder / "shop_app.py").write_text(MEET + code)
    done = subprocess.run(command(*args), stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.count(text) == 1, done.stderr
    assert done.stderr.count("error: ") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert len(_pids(folder)) >= 2


def test_an_error_of_the_child_alone_is_logged(folder: Path, redis_url: str) -> None:
    code = f"app = App(broker={redis_url!r})\nif is_child: {BROKEN}"
    (folder / "shop_app.py").write_text(MEET + code)
    done = subprocess.run(command(), stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.count("CRITICAL") == 1, done.stderr
    assert done.stderr.count("RuntimeError: the shelf is empty") == 1, done.stderr


@pytest.mark.parametrize(
    ("args", "last"),
    [
        ([], "consuming from"),
        (["--pool", "processes", "-c", "3"], "consuming from"),
        (["--with-scheduler"], "periodic tasks"),
    ],
    ids=["threads", "processes", "scheduler"],
)
def test_an_import_is_heard_once_and_a_task_afterwards(
    folder: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, args: list[str], last: str
) -> None:
    monkeypatch.setenv("BROKER", redis_url)
    monkeypatch.setenv("RESULT_BACKEND", redis_url)
    monkeypatch.setenv("GEARMESH_LEASES", "3")
    (folder / "shop_app.py").write_text(MEET + TALKATIVE)
    with listened(folder, *args) as (process, said), App() as app:
        eventually(lambda: last in said(), what="the start")
        app.send_task("talk").get(timeout=60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    for way in WAYS_TO_SAY:
        assert said().count(f"{way} at the import") == 1, said()
        assert said().count(f"{way} by the task") == 1, said()
    assert said().count("do you mean GEARMESH_LEASE?") == 1, said()


def test_a_process_that_replaces_another_is_heard(
    folder: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It imports the app alone, at another time, so its output then is not suppressed as a repetition."""
    monkeypatch.setenv("BROKER", redis_url)
    (folder / "shop_app.py").write_text(MEET + TALKATIVE)
    with listened(folder) as (process, said):
        eventually(lambda: "consuming" in said(), what="the start")
        (child,) = (pid for pid in _pids(folder) if pid != process.pid)
        os.kill(child, signal.SIGKILL)
        eventually(lambda: said().count("consuming") == 2, what="the second start")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    for way in WAYS_TO_SAY:
        assert said().count(f"{way} at the import") == 2, said()


@pytest.mark.parametrize("begins", [False, True])
def test_a_child_that_cannot_load_its_app_says_so_when_it_begins(
    folder: Path, capfd: pytest.CaptureFixture[str], begins: bool
) -> None:
    (folder / "shop_app.py").write_text(BROKEN)
    ended = threading.Event()
    options = WorkerOptions()
    child = WorkerChild("shop_app:app", options, ended.set, Monitor(options))
    if begins:
        child.begin(0)
    child.close()  # the child reads all orders, then the end of the pipe
    child.scoreboard.close()
    assert ended.wait(60)
    shown = capfd.readouterr().err
    if begins:
        assert (child.code, shown.count("RuntimeError: the shelf is empty")) == (EXIT_CONFIG, 1)
    else:
        assert (child.code, shown) == (0, "")


def test_a_supervisor_that_stops_does_not_wait_for_ever_until_a_broker_answers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, options, ended = App("redis://127.0.0.1:1/0"), WorkerOptions(), threading.Event()
    monitor = Monitor(options)
    # It is not started: its broker might as well never answer.
    heartbeater = Heartbeater(app, (app.default_queue,), Limits(app.tasks, None, None), lambda: None)
    child = WorkerChild("shop_app:app", options, ended.set, monitor)
    process = WorkerProcess(lambda: child, heartbeater, 0.0, monitor)
    process.step(0)
    child.kill()
    assert ended.wait(60)
    assert 0 < process.step(1) <= SETTLE_DELAY_S
    assert not process.empty
    monkeypatch.setattr("gearmesh.worker.worker_process.SETTLE_DELAY_S", 0.0)
    process.step(1)
    assert process.empty
    shown = crash_report(child.consumer.encode())
    assert shown is not None, "the scoreboard is kept, for other workers"
    assert child.scoreboard._path is not None
    child.scoreboard._path.unlink()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_an_import_that_does_not_end(folder: Path, number: signal.Signals) -> None:
    (folder / "shop_app.py").write_text(MEET + "time.sleep(600)")
    process = subprocess.Popen(command(), stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: len(_pids(folder)) == 2)
        process.send_signal(number)
        assert process.communicate(timeout=60)[1] == ""
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def test_an_error_in_place_of_the_interrupt_is_an_interrupt() -> None:
    """yaml's parser, which is in C, raises an AttributeError if a signal comes while it is imported."""

    def parse() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            raise AttributeError

    signals = StopSignals(lambda: None)
    try:
        with pytest.raises(AttributeError), signals.interrupting():
            raise AttributeError
        with pytest.raises(KeyboardInterrupt), signals.interrupting():
            parse()
    finally:
        signals.close()


def test_the_app_s_own_signal_handlers_do_not_keep_a_worker_from_stopping(
    folder: Path, redis_url: str
) -> None:
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); app = App(broker={redis_url!r})"
    (folder / "shop_app.py").write_text(MEET + code)
    process = subprocess.Popen(command(), stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any("worker: consuming" in line for line in lines)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60)[1].endswith("supervisor: stopped\n")
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def _pids(folder: Path) -> list[int]:
    return [int(path.stem) for path in folder.glob("*.importing")]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
