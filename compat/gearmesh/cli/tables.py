"""Lays rows out as a table that fits the terminal, as blocks if no table fits, or as one line a row in a pipe."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from gearmesh.cli.output import console, note, terminal_width
from gearmesh.units import counted

__all__ = ["Cell", "Column", "Table", "block_lines", "note_count", "shown"]

#: Spaces between two columns.
COLUMN_GAP_CHARS: Final = 2
#: Characters of a shortened id: the prefix and eight digits of ``task_<uuid>``.
SHORT_ID_CHARS: Final = 13
#: Printed for an empty cell in a pipe, so that each row has the same number of words before its free text.
EMPTY_CELL: Final = "-"

_BIDIRECTIONAL: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")


def shown(text: str, *, lines: bool = False) -> str:
    """Write control characters of a text as escapes, so that data cannot steer a terminal or break a row.

    ``lines``: keep line breaks.
    """
    if text.isprintable() and not _BIDIRECTIONAL.intersection(text):
        return text
    return "".join(
        char if (lines and char == "\n") or not _is_control(char) else repr(char)[1:-1] for char in text
    )


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _BIDIRECTIONAL


class Cell(NamedTuple):
    """Holds one value of a table and its style.

    Attributes:
        text: the text for people at a terminal.
        whole: the text in a pipe and with ``--wide``; None: the same text.
        style: rich's name of a colour.
    """

    text: str
    whole: str | None = None
    style: str = ""


#: The cells of a table as they are drawn.
Grid = list[list[Cell]]


@dataclass(frozen=True)
class Column:
    """Describes a column of a table: its heading and the rules for drawing its cells.

    Attributes:
        heading: the column's name.
        right: True aligns numbers to the right.
        drop: on a terminal, the table leaves the column out if the table is too wide (columns with 1 first) or if the
            column is empty; 0: never.
        least: the number of characters to which cells may be cut; 0: they are never cut.
        identifier: True if the cells are ids, which a unique beginning may stand for.
        lines: True if cells may have several lines; a terminal shows them under each other.
        shown: False leaves the column out everywhere, but rows still have a cell for it.
    """

    heading: str
    right: bool = False
    drop: int = 0
    least: int = 0
    identifier: bool = False
    lines: bool = False
    shown: bool = True


class Table:
    """Draws rows under headings, in the width of the terminal.

    Args:
        columns: the columns from left to right. Put free text at the end.
        wide: show every column and whole values, even if lines are wider than the terminal.
    """

    def __init__(self, columns: Sequence[Column], wide: bool = False) -> None:
        self._given = columns
        self.columns = [column for column in columns if column.shown]
        self.wide = wide
        self.rows: list[list[Cell]] = []

    def add(self, *cells: str | Cell) -> None:
        """Add a row with one cell for each column."""
        self.rows.append(
            [
                cell if isinstance(cell, Cell) else Cell(cell)
                for cell, column in zip(cells, self._given, strict=True)
                if column.shown
            ]
        )

    def show(self, *, blocks: bool = False, whole: bool = False) -> bool:
        """Print the rows to standard output; True if it leaves out or cuts a value that ``wide`` would show.

        ``blocks``: on a terminal, print each row as a block even if a table fits. ``whole``: print blocks rather than a
        table that leaves out or cuts a value. Without rows it prints nothing.
        """
        if not self.rows:
            return False
        width = terminal_width()
        lines, cut = self.render(width, blocks=blocks)
        if cut and whole:
            lines, cut = self.render(width, blocks=True)
        screen = console()
        for line in lines:
            screen.print(line, soft_wrap=True)
        return cut

    def render(self, width: int | None, *, blocks: bool = False) -> tuple[list[Text], bool]:
        """The lines for a terminal of ``width`` columns (None: a pipe), and True if a value is left out or cut."""
        kept = list(range(len(self.columns)))
        if width is None or self.wide:
            grid = self._whole("" if width else EMPTY_CELL)
            return self._lines(grid, kept, self._widths(grid, kept)), False
        if blocks:
            return self._blocks(width), False
        grid = [
            [
                cell._replace(text=shown(cell.text, lines=column.lines))
                for cell, column in zip(row, self.columns, strict=True)
            ]
            for row in self.rows
        ]
        kept = [i for i in kept if not self.columns[i].drop or any(row[i].text for row in grid)]
        widths = self._widths(grid, kept)
        if _total(widths) <= width:
            return self._lines(grid, kept, widths), False
        self._shorten_ids(grid)
        while _total(self._minima(grid, kept)) > width:
            droppable = [i for i in kept if self.columns[i].drop]
            if not droppable:
                return self._blocks(width), False
            kept.remove(min(droppable, key=lambda i: self.columns[i].drop))
        return self._lines(grid, kept, self._fitted(grid, kept, width)), True

    # -- a line a row

    def _whole(self, empty: str) -> Grid:
        return [
            [
                cell._replace(text=shown(cell.text if cell.whole is None else cell.whole) or empty)
                for cell in row
            ]
            for row in self.rows
        ]

    def _lines(self, grid: Grid, kept: Sequence[int], widths: Sequence[int]) -> list[Text]:
        head = [Cell(column.heading, style="bold") for column in self.columns]
        lines = []
        for row in (head, *grid):
            split = [row[i].text.split("\n") for i in kept]
            for texts in zip_longest(*split, fillvalue=""):
                line = Text()
                for i, text, width in zip(kept, texts, widths, strict=True):
                    self._append(line, i, text, row[i].style, width, last=i == kept[-1])
                if row is not head:
                    line.rstrip()
                lines.append(line)
        return lines

    def _append(self, line: Text, index: int, text: str, style: str, width: int, *, last: bool) -> None:
        if cell_len(text) > width:
            text = set_cell_size(text, width - 1).rstrip() + "…"
        room = " " * (width - cell_len(text))
        line.append(room if self.columns[index].right else "")
        line.append(text, style)
        if not last:
            line.append(("" if self.columns[index].right else room) + " " * COLUMN_GAP_CHARS)

    def _widths(self, grid: Grid, kept: Sequence[int]) -> list[int]:
        def width(i: int) -> int:
            lines = (line for row in grid for line in row[i].text.split("\n"))
            return max(map(cell_len, (self.columns[i].heading, *lines)))

        return [width(i) for i in kept]

    def _minima(self, grid: Grid, kept: Sequence[int]) -> list[int]:
        """The widths of the columns if each is cut as far as it may be."""
        return [
            min(width, max(self.columns[i].least, cell_len(self.columns[i].heading)))
            if self.columns[i].least
            else width
            for i, width in zip(kept, self._widths(grid, kept), strict=True)
        ]

    def _fitted(self, grid: Grid, kept: Sequence[int], width: int) -> list[int]:
        """Widths that fill the terminal: columns that lack little room get it first, so the widest ones are cut."""
        widths, wanted = self._minima(grid, kept), self._widths(grid, kept)
        room = width - _total(widths)
        for i in sorted(range(len(kept)), key=lambda i: wanted[i] - widths[i]):
            more = min(room, wanted[i] - widths[i])
            widths[i] += more
            room -= more
        return widths

    def _shorten_ids(self, grid: Grid) -> None:
        for i, column in enumerate(self.columns):
            if column.identifier:
                for row, text in zip(grid, _beginnings([row[i].text for row in grid]), strict=True):
                    row[i] = row[i]._replace(text=text)

    # -- several lines a row

    def _blocks(self, width: int) -> list[Text]:
        """Draw each row as lines of heading and value, without empty cells."""
        indent = max(cell_len(column.heading) for column in self.columns) + COLUMN_GAP_CHARS
        lines: list[Text] = []
        for row in self.rows:
            if lines:
                lines.append(Text())
            for column, cell in zip(self.columns, row, strict=True):
                if text := self._block_text(column, cell):
                    lines += block_lines(column.heading, text, cell.style, indent, width)
        return lines

    @staticmethod
    def _block_text(column: Column, cell: Cell) -> str:
        """The value for people with the exact value after it, since a block has room for both."""
        text = shown(cell.text, lines=True)
        if cell.whole is None or cell.whole == cell.text or column.lines:
            return text
        return f"{text} ({shown(cell.whole)})"


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + COLUMN_GAP_CHARS * (len(widths) - 1)


def note_count(count: int, noun: str, where: str = "", *, limit: int = 0, cut: bool) -> None:
    """Print the number of a table's rows: ``the first 100 messages waiting in shop; --wide shows everything``.

    Args:
        count: the number of rows.
        noun: the noun for one row.
        where: words after the number.
        limit: the number of rows at which the list was ended; 0: it has all rows.
        cut: True if the table cuts or leaves out a value.
    """
    first = "the first " if limit and count == limit else ""
    note(f"{first}{counted(count, noun)}{where and ' '}{where}{'; --wide shows everything' if cut else ''}")


def block_lines(heading: str, text: str, style: str, indent: int, width: int | None) -> list[Text]:
    """Lay out ``heading   text`` with the lines of the text under each other; ``width`` None breaks no line."""
    room = None if width is None else max(1, width - indent)
    pieces = [piece for line in text.split("\n") for piece in _wrapped(line, room)]
    heads = [heading] + [""] * (len(pieces) - 1)
    return [
        Text.assemble((set_cell_size(head, indent), "bold"), (piece, style))
        for head, piece in zip(heads, pieces, strict=True)
    ]


def _wrapped(line: str, room: int | None) -> list[str]:
    """Split a line into pieces of at most ``room`` columns, at spaces if possible."""
    if room is None or cell_len(line) <= room:
        return [line]
    return [piece.plain.rstrip() for piece in Text(line).wrap(console(), room)]


def _beginnings(ids: Sequence[str]) -> list[str]:
    """Shorten ids to their first characters: ``SHORT_ID_CHARS`` of them, or as many as tell the ids apart."""
    distinct = set(ids)
    longest = max(map(len, distinct), default=0)
    length = SHORT_ID_CHARS
    while length < longest and len({each[:length] for each in distinct}) < len(distinct):
        length += 1
    return [each[:length] for each in ids]
