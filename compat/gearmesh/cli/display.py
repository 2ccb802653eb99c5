"""Rows for people: a table where it fits the terminal, else a block for each row; times as people say them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gearmesh.cli.common import console

__all__ = ["ago", "counted", "moment", "show_rows"]

#: Spaces between two columns.
GAP: Final = 2

Cell = str | Text


def counted(count: int, noun: str) -> str:
    """``1 message``, ``2 messages``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def ago(unix: float, now: float | None = None) -> str:
    """A time as people say it: ``3 min ago``, ``in 2 h``, ``now``."""
    seconds = (time.time() if now is None else now) - unix
    size = abs(seconds)
    if size < 1:
        return "now"
    for limit, unit, name in (
        (120, 1, "s"),
        (7200, 60, "min"),
        (172_800, 3600, "h"),
        (float("inf"), 86_400, "d"),
    ):
        if size < limit:
            shown = f"{size / unit:.0f} {name}"
            return f"{shown} ago" if seconds > 0 else f"in {shown}"
    raise AssertionError("the last limit is infinite")


def moment(unix: float) -> str:
    """A local time to the second, and how long ago it was: ``2026-11-28 21:05:24 (3 min ago)``."""
    try:
        return f"{datetime.fromtimestamp(unix):%Y-%m-%d %H:%M:%S} ({ago(unix)})"
    except (ValueError, OverflowError, OSError):  # other programs may store any number
        return "after the year 9999" if unix > 0 else "before the year 0"


def show_rows(
    headings: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    wide: bool = False,
    screen: Console | None = None,
) -> None:
    """Print rows below their headings.

    In a pipe, and with ``wide``, each row is one line. On a terminal that is too narrow for that, each row is a block:
    its first cell, and below it the others, each behind its heading.
    """
    if not rows:
        return
    out = screen or console()
    widths = [
        max(max((cell_len(line) for line in _text(cell).plain.splitlines()), default=0) for cell in column)
        for column in zip(headings, *rows, strict=True)
    ]
    needed = sum(widths) + GAP * (len(widths) - 1)
    if wide or not out.is_terminal or needed <= out.width:
        out.width = max(out.width, needed)
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
        for heading in headings:
            table.add_column(heading, no_wrap=True)
        for row in rows:
            table.add_row(*row)
        out.print(table)
        return
    indent = max(map(cell_len, headings[1:]), default=0) + 4
    for number, row in enumerate(rows):
        if number:
            out.print()
        out.print(Text(_text(row[0]).plain, style="bold"), soft_wrap=True)
        for heading, cell in zip(headings[1:], row[1:], strict=True):
            if _text(cell).plain:
                grid = Table.grid(padding=0)
                grid.add_column(width=indent, no_wrap=True)
                grid.add_column(overflow="fold")
                grid.add_row(f"  {heading}", cell)
                out.print(grid)


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)
