"""What a child runs, as its supervisor sees it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from gearmesh.worker.board import Board, shared_file


@pytest.fixture
def board() -> Board:
    file = shared_file()
    try:
        return Board(file, 3)
    finally:
        os.close(file)


def test_nothing_runs_at_first(board: Board) -> None:
    assert board.running == []
    assert board.deadline == float("inf")


def test_places_and_deadline(board: Board) -> None:
    board.places[0], board.places[2] = 7, 2**40
    assert board.running == [7, 2**40]
    board.limit(10)
    assert 9 < board.deadline - time.monotonic() <= 10
    board.limit(0)
    assert board.deadline == float("inf")


def test_what_a_process_wrote_outlives_it() -> None:
    file = shared_file()
    try:
        board = Board(file, 3)
        code = (
            "import os, sys; from gearmesh.worker.board import Board; b = Board(int(sys.argv[1]), 3);"
            "b.places[1] = 42; b.limit(5); os.kill(os.getpid(), 9)"
        )
        subprocess.run([sys.executable, "-c", code, str(file)], pass_fds=[file], check=False)
    finally:
        os.close(file)
    assert board.running == [42]
    assert 0 < board.deadline - time.monotonic() <= 5
