"""Makes the cell of a table for a time."""

from __future__ import annotations

from gearmesh.cli.tables import Cell
from gearmesh.inspection.times import age, exact

__all__ = ["time_cell"]


def time_cell(ns: int | None, now_ns: int) -> Cell:
    """Make a table's cell for a time: its age for people, the exact time in a pipe; empty if the time is None."""
    return Cell("") if ns is None else Cell(age(ns, now_ns), exact(ns))
