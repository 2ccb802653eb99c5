"""A table's cell for a time."""

from __future__ import annotations

from gearmesh.cli.tables import Cell
from gearmesh.inspection.times import age, exact

__all__ = ["time_cell"]


def time_cell(ns: int | None, now_ns: int) -> Cell:
    """A table's cell: how long ago for people, exact in a pipe; empty where the time is not known (None)."""
    return Cell("") if ns is None else Cell(age(ns, now_ns), exact(ns))
