"""The supervisor, and other workers on its machine, see which messages a child runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from gearmesh import scoreboard as boards
from gearmesh.scoreboard import CrashReport, Scoreboard, crash_report, sweep
from gearmesh.testing.waiting import eventually

#: A process that inherits a board, runs ``{what}``, and waits until the test ends it.
CHILD = """
import os, sys
from gearmesh.scoreboard import Scoreboard
board = Scoreboard(int(sys.argv[1]), 3)
{what}
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    board = Scoreboard.post("here:1:abc", 3)
    yield board
    board.close()


@pytest.fixture
def child() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a process that has a board, and did ``what`` with it."""
    started = []

    def start(board: Scoreboard, what: str = "") -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD.format(what=what), str(board.file)],
            pass_fds=[board.file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def test_nothing_runs_at_first(board: Scoreboard) -> None:
    assert board.running == []
    assert board.deadline == float("inf")
    assert board.alone_for == float("inf")
    assert not board.greedy


def test_places_and_deadline(board: Scoreboard) -> None:
    board.places[0], board.places[2] = 7, 2**40
    assert board.running == [7, 2**40]
    board.limit(10)
    assert 0 < board.deadline - time.monotonic() <= 10
    board.limit(0)
    assert board.deadline == float("inf")


def test_the_entries_of_a_process_outlive_it(
    board: Scoreboard, child: Callable[..., subprocess.Popen[bytes]]
) -> None:
    kill(child(board, "board.places[1] = 42; board.limit(60)"))
    assert board.running == [42]
    assert 0 < board.deadline - time.monotonic() <= 60


def test_a_live_process_leaves_no_evidence(board: Scoreboard) -> None:
    assert crash_report(b"here:1:abc") is None
    assert crash_report(b"somebody else") is None


def test_evidence_once_both_are_dead(child: Callable[..., subprocess.Popen[bytes]]) -> None:
    board = Scoreboard.post("here:1:abc", 3)
    process = child(board, "board.places[1] = 42")
    board.close(keep=True)
    assert crash_report(b"here:1:abc") is None, "the child lives"
    kill(process)
    assert crash_report(b"here:1:abc") == CrashReport([42], certain=False)
    assert crash_report(b"here:1:abc") == CrashReport([42], certain=False), "looking changes nothing"
    assert crash_report(b"here:1:ab") is None


def test_the_supervisor_knows_better_while_it_lives(
    board: Scoreboard, child: Callable[..., subprocess.Popen[bytes]]
) -> None:
    kill(child(board, "board.places[1] = 42"))
    assert crash_report(b"here:1:abc") is None


def test_too_much_memory_is_certain(child: Callable[..., subprocess.Popen[bytes]]) -> None:
    board = Scoreboard.post("here:1:abc", 3)
    process = child(board, "board.greedy = True; board.places[0] = 1")
    board.close(keep=True)
    kill(process)
    assert crash_report(b"here:1:abc") == CrashReport([1], certain=True)


def test_a_closed_scoreboard_leaves_no_file_and_no_report(tmp_path: Path) -> None:
    Scoreboard.post("here:1:abc", 3).close()
    assert crash_report(b"here:1:abc") is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_name_from_the_server_is_no_path(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(bytes(64))
    Scoreboard.post("x", 1).close()
    for name in ("../outside", str(outside), "..", "", "\0", "é" * 300):
        assert crash_report(name.encode()) is None
    assert crash_report(b"\xff") is None


def test_another_machine_in_the_same_folder_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    Scoreboard.post("here:1:abc", 3).close(keep=True)
    assert crash_report(b"here:1:abc") is not None
    monkeypatch.setattr(boards, "_machine", lambda: b"another")
    assert crash_report(b"here:1:abc") is None


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_a_folder_that_others_may_write_in_is_not_used(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / f"gearmesh-{os.getuid()}"
    folder.mkdir()
    folder.chmod(mode)
    board = Scoreboard.post("here:1:abc", 3)
    board.places[0] = 5
    assert board.running == [5], "without a name it serves its supervisor as well"
    board.close(keep=True)
    assert list(folder.iterdir()) == []
    assert crash_report(b"here:1:abc") is None


def test_a_link_in_the_folder_s_place_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"gearmesh-{os.getuid()}").symlink_to(elsewhere)
    Scoreboard.post("here:1:abc", 3).close(keep=True)
    assert list(elsewhere.iterdir()) == []


def test_no_folder_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"gearmesh-{os.getuid()}").write_text("a file")
    board = Scoreboard.post("here:1:abc", 3)
    board.places[2] = 9
    assert board.running == [9]
    board.close()
    assert crash_report(b"here:1:abc") is None
    sweep()


def test_no_place_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    board = Scoreboard.post("here:1:abc", 3)
    board.places[0] = 4
    assert board.running == [4]
    board.close()
    assert crash_report(b"here:1:abc") is None
    sweep()


def test_a_folder_that_is_tidied_up_ends_nobody(tmp_path: Path) -> None:
    board = Scoreboard.post("here:1:abc", 1)
    folder = tmp_path / f"gearmesh-{os.getuid()}"
    shutil.rmtree(folder)
    folder.write_text("a file")
    assert crash_report(b"here:1:abc") is None
    sweep()
    board.close()


def test_a_process_that_a_task_forks_does_not_pass_for_its_parent(
    child: Callable[..., subprocess.Popen[bytes]],
) -> None:
    board = Scoreboard.post("here:1:abc", 3)
    process = child(
        board,
        "board.places[1] = 42; os.register_at_fork(after_in_child=board.close)\n"
        "if os.fork() == 0: os.closerange(0, 3); import time; time.sleep(60); os._exit(0)",
    )
    forked = psutil.Process(process.pid).children()
    board.close(keep=True)
    kill(process)
    try:
        # The forked process may not have run yet: it lets go first of all.
        eventually(lambda: crash_report(b"here:1:abc") is not None, what="the forked process to let go")
        assert crash_report(b"here:1:abc") == CrashReport([42], certain=False)
    finally:
        for each in forked:
            each.kill()


def test_sweeping_removes_boards_without_a_process_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / f"gearmesh-{os.getuid()}"
    living, left = Scoreboard.post("living", 1), Scoreboard.post("left", 1)
    left.close(keep=True)
    for path in folder.iterdir():
        os.utime(path, (1, 1))  # a mapped file's times say little
    sweep()
    assert crash_report(b"left") is not None, "the sweep has found the board only now"
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + int((boards.DEAD_SCOREBOARD_TTL_S - 10) * 1e9))
    sweep()
    assert crash_report(b"left") is not None
    monkeypatch.setattr(time, "time_ns", lambda: now + int((boards.DEAD_SCOREBOARD_TTL_S + 10) * 1e9))
    sweep()
    assert [path.name for path in folder.iterdir()] == [boards._name(b"living")]
    living.close()
