"""Rows on terminals of 80 and 140 columns, and in a pipe; times as people say them."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from gearmesh.cli.display import ago, counted, moment, show_rows

HEADINGS = ("uuid", "task", "arguments", "retries")
ROWS = [
    ("task_3c9e3a7d-1e09-43cc-8cc1-e8dae1096fe6", "resize", 'int64:1, string:"a picture of a mountain"', "3"),
    ("task_04bfe5e9-4708-4273-bd8b-bdfbb91faa53", "thumbnail", "", "0"),
]


def shown(width: int, *, terminal: bool = True, wide: bool = False) -> list[str]:
    out = io.StringIO()
    screen = Console(
        file=out, width=width, force_terminal=terminal, no_color=True, highlight=False, markup=False
    )
    show_rows(HEADINGS, ROWS, wide=wide, screen=screen)
    return [
        line.rstrip() for line in out.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    ]


def test_a_row_is_a_line_where_there_is_room() -> None:
    lines = shown(140)
    assert len(lines) == 3
    assert lines[1].split()[:2] == [ROWS[0][0], "resize"]


def test_a_row_is_a_block_where_there_is_none() -> None:
    lines = shown(80)
    assert lines == [
        "task_3c9e3a7d-1e09-43cc-8cc1-e8dae1096fe6",
        "  task       resize",
        '  arguments  int64:1, string:"a picture of a mountain"',
        "  retries    3",
        "",
        "task_04bfe5e9-4708-4273-bd8b-bdfbb91faa53",
        "  task       thumbnail",
        "  retries    0",
    ]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("width", [40, 80])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, shown(width))) <= max(width, len(ROWS[0][0]))


def test_a_row_is_a_line_in_a_pipe_and_if_asked_for() -> None:
    assert len(shown(80, terminal=False)) == len(shown(80, wide=True)) == 3


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "now"),
        (-3, "in 3 s"),
        (90, "90 s ago"),
        (180, "3 min ago"),
        (-7200, "in 2 h"),
        (86_400 * 3, "3 d ago"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert ago(1000.0 - seconds, 1000.0) == text


def test_moments() -> None:
    assert moment(time.time()).endswith(" (now)")
    assert moment(1e18) == "after the year 9999"
    assert moment(-1e18) == "before the year 0"
    assert (counted(1, "task"), counted(0, "task")) == ("1 task", "0 tasks")
