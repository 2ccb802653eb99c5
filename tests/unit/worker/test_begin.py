"""A worker process loads its app while the supervisor reaches the servers, and begins when the supervisor says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gearmesh.testing.waiting import eventually
from gearmesh.worker.control import ControlPipe, follow, wait_to_begin

APP = """
from gearmesh import App
app = App(broker="redis://127.0.0.1:1/0", backend="redis://127.0.0.1:1/0")
"""


def test_the_first_line_names_the_broker_and_the_orders_come_after_it() -> None:
    pipe = ControlPipe()
    pipe.begin(12)
    pipe.order(b"slots")
    pipe.stop()
    seen: list[object] = []
    ended = threading.Event()
    assert wait_to_begin(pipe.child_end) == 12
    follow(pipe.child_end, lambda: seen.append("stop"), ended.set, seen.append)
    pipe.close()
    assert ended.wait(10)
    assert seen == [b"slots", "stop"]
    os.close(pipe.child_end)


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "orphaned"])
def test_a_process_that_is_stopped_or_orphaned_before_does_not_begin(stopped: bool) -> None:
    pipe = ControlPipe()
    if stopped:
        pipe.stop()
    else:
        pipe.close()
    assert wait_to_begin(pipe.child_end) is None
    os.close(pipe.child_end)
    if stopped:
        pipe.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_a_supervisor_that_waits_for_its_broker(
    tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "waiting_app.py").write_text(APP)
    source = str(Path(__file__).parents[3] / "compat")
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "gearmesh", "worker", "waiting_app:app", "--wait-for-broker"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": source},
        stderr=subprocess.DEVNULL,
    )
    try:
        children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children")
        child = eventually(lambda: children.read_text().split(), 60.0)[0]
        # A process that still loads the app has not read the pipe; one that reads it sees the end of the stream.
        supervisor.send_signal(number)
        assert supervisor.wait(60) == (0 if number is signal.SIGTERM else -number)
        eventually(lambda: not _lives(child), 60.0)
    finally:
        supervisor.kill()
        supervisor.wait()


def _lives(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
