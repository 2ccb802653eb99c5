"""Computes the positions of pages in a list."""

from __future__ import annotations

from typing import Final, NamedTuple

from gearmesh.web.forms import Fields

__all__ = ["PAGE_ROWS", "Paging", "paging"]

#: Rows on one page.
PAGE_ROWS: Final = 50


class Paging(NamedTuple):
    """The place of a page in its list. Positions count from 0. ``before`` and ``after``: None: no such page."""

    start: int
    shown: int
    total: int | None
    before: int | None
    after: int | None


def paging(query: Fields, shown: int, total: int | None) -> Paging:
    """Compute the place of a page with ``shown`` rows; ``total``: the rows of all pages, None: not known."""
    start = query.number("start")
    more = start + shown < total if total is not None else shown == PAGE_ROWS
    return Paging(
        start,
        shown,
        total,
        max(0, start - PAGE_ROWS) if start else None,
        start + shown if more and shown else None,
    )
