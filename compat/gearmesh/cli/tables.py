"""Lays rows out as a table that fits the terminal, as blocks where no table fits, or as one line a row in a pipe."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from gearmesh.cli.output import console, terminal_width

__all__ = ["Cell", "Column", "Table", "block_lines", "shown"]

#: Spaces between two columns.
COLUMN_GAP_CHARS: Final = 2
#: Characters of a shortened id: the prefix and eight digits of ``task_<uuid>``.
SHORT_ID_CHARS: Final = 13
#: Printed for an empty cell in a pipe, so that each row has the same number of words before its free text.
EMPTY_CELL: Final = "-"

_BIDIRECTIONAL: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")


def shown(text: str, *, lines: bool = False) -> str:
    """The text with control characters written as escapes, so that data cannot steer a terminal or break a row.

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
    """One value of a row.

    Attributes:
        text: for people at a terminal.
        whole: in a pipe and with ``--wide``; None: the same.
        style: rich's name of a colour.
    """

    text: str
    whole: str | None = None
    style: str = ""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        heading: its name.
        right: align numbers to the right.
        drop: on a terminal the table is drawn without the column if it is too wide (1 goes first), or if the
            column is empty; 0: never.
        least: cells may be cut to so many characters; 0: they are never cut.
        identifier: cells are ids, of which a unique beginning may be shown.
        lines: cells may have several lines, which are drawn under each other on a terminal.
    """

    heading: str
    right: bool = False
    drop: int = 0
    least: int = 0
    identifier: bool = False
    lines: bool = False


@dataclass
class Table:
    """Rows under headings.

    Args:
        columns: from left to right. Free text belongs at the end.
        wide: show every column and whole values, however wide the terminal is.
    """

    columns: Sequence[Column]
    wide: bool = False
    rows: list[list[Cell]] = field(default_factory=list)

    def add(self, *cells: str | Cell) -> None:
        """Add a row; one cell a column."""
        assert len(cells) == len(self.columns)
        self.rows.append([cell if isinstance(cell, Cell) else Cell(cell) for cell in cells])

    def show(self, *, blocks: bool = False, whole: bool = False) -> bool:
        """Print the rows to standard output; True if a value was left out or cut that ``wide`` would show.

        ``blocks``: on a terminal, print each row as a block even if a table fits. ``whole``: print blocks rather
        than a table in which a value is left out or cut. Without rows nothing is printed.
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
        if width is None or self.wide:
            return self._whole(piped=width is None), False
        if blocks:
            return self._blocks(width), False
        grid = [
            [
                _Drawn(shown(cell.text, lines=column.lines), cell.style)
                for cell, column in zip(row, self.columns, strict=True)
            ]
            for row in self.rows
        ]
        kept = [
            i for i, column in enumerate(self.columns) if not column.drop or any(row[i].text for row in grid)
        ]
        if self._room(grid, kept, width, natural=True) >= 0:
            return self._lines(grid, kept, self._widths(grid, kept)), False
        self._shorten_ids(grid)
        while self._room(grid, kept, width) < 0:
            droppable = [i for i in kept if self.columns[i].drop]
            if not droppable:
                return self._blocks(width), False
            kept.remove(min(droppable, key=lambda i: self.columns[i].drop))
        return self._lines(grid, kept, self._fitted(grid, kept, width)), True

    # -- a line a row

    def _whole(self, *, piped: bool) -> list[Text]:
        grid = [
            [
                _Drawn(
                    shown(cell.text if cell.whole is None else cell.whole) or (EMPTY_CELL if piped else ""),
                    cell.style,
                )
                for cell in row
            ]
            for row in self.rows
        ]
        kept = list(range(len(self.columns)))
        return self._lines(grid, kept, self._widths(grid, kept))

    def _lines(
        self, grid: Sequence[Sequence[_Drawn]], kept: Sequence[int], widths: Sequence[int]
    ) -> list[Text]:
        head = Text()
        for i, width in zip(kept, widths, strict=True):
            self._append(head, i, _Drawn(self.columns[i].heading, "bold"), width, last=i == kept[-1])
        lines = [head]
        for row in grid:
            split = {i: row[i].text.split("\n") for i in kept}
            for number in range(max(map(len, split.values()))):
                line = Text()
                for i, width in zip(kept, widths, strict=True):
                    text = split[i][number] if number < len(split[i]) else ""
                    self._append(line, i, _Drawn(text, row[i].style), width, last=i == kept[-1])
                line.rstrip()
                lines.append(line)
        return lines

    def _append(self, line: Text, index: int, cell: _Drawn, width: int, *, last: bool) -> None:
        text = cell.text
        room = width - cell_len(text)
        if room < 0:
            text, room = set_cell_size(text, width - 1).rstrip() + "…", 0
            room = width - cell_len(text)
        if self.columns[index].right:
            line.append(" " * room)
            line.append(text, cell.style)
        else:
            line.append(text, cell.style)
            line.append("" if last else " " * room)
        if not last:
            line.append(" " * COLUMN_GAP_CHARS)

    def _widths(self, grid: Sequence[Sequence[_Drawn]], kept: Sequence[int]) -> list[int]:
        return [
            max(
                cell_len(self.columns[i].heading),
                max((cell_len(line) for row in grid for line in row[i].text.split("\n")), default=0),
            )
            for i in kept
        ]

    def _minima(self, grid: Sequence[Sequence[_Drawn]], kept: Sequence[int]) -> list[int]:
        """The widths when every column that may be cut is cut."""
        return [
            min(width, max(self.columns[i].least, cell_len(self.columns[i].heading)))
            if self.columns[i].least
            else width
            for i, width in zip(kept, self._widths(grid, kept), strict=True)
        ]

    def _room(
        self, grid: Sequence[Sequence[_Drawn]], kept: Sequence[int], width: int, *, natural: bool = False
    ) -> int:
        widths = self._widths(grid, kept) if natural else self._minima(grid, kept)
        return width - sum(widths) - COLUMN_GAP_CHARS * (len(kept) - 1)

    def _fitted(self, grid: Sequence[Sequence[_Drawn]], kept: Sequence[int], width: int) -> list[int]:
        """Widths that fill the terminal: the cells that lack least room get it, and those that lack most are cut."""
        widths, wanted = self._minima(grid, kept), self._widths(grid, kept)
        room = self._room(grid, kept, width)
        for i in sorted(range(len(kept)), key=lambda i: wanted[i] - widths[i]):
            more = min(room, wanted[i] - widths[i])
            widths[i] += more
            room -= more
        return widths

    def _shorten_ids(self, grid: Sequence[list[_Drawn]]) -> None:
        for i, column in enumerate(self.columns):
            if column.identifier:
                for row, text in zip(grid, _beginnings([row[i].text for row in grid]), strict=True):
                    row[i] = _Drawn(text, row[i].style)

    # -- several lines a row

    def _blocks(self, width: int) -> list[Text]:
        """Each row as lines of heading and value; empty cells are left out."""
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
        """The value for people, and the exact one behind it, as a block has room for both."""
        text = shown(cell.text, lines=True)
        if cell.whole is None or cell.whole == cell.text or column.lines:
            return text
        return f"{text} ({shown(cell.whole)})"


class _Drawn(NamedTuple):
    text: str
    style: str


def block_lines(heading: str, text: str, style: str, indent: int, width: int | None) -> list[Text]:
    """``heading   text``, with all lines of the text under each other; ``width`` None: no line is broken."""
    room = None if width is None else max(1, width - indent)
    pieces = [piece for line in text.split("\n") for piece in _wrapped(line, room)]
    lines = []
    for piece in pieces:
        line = Text()
        line.append(set_cell_size(heading, indent), "bold")
        line.append(piece, style)
        lines.append(line)
        heading = ""
    return lines


def _wrapped(line: str, room: int | None) -> list[str]:
    """The line in pieces of at most ``room`` columns, broken at spaces where possible."""
    if room is None or cell_len(line) <= room:
        return [line]
    return [piece.plain.rstrip() for piece in Text(line).wrap(console(), room)]


def _beginnings(ids: Sequence[str]) -> list[str]:
    """The first characters of each id: at least those that people recognise, and enough to tell the ids apart."""
    distinct = set(ids)
    longest = max(map(len, distinct), default=0)
    length = SHORT_ID_CHARS
    while length < longest and len({each[:length] for each in distinct}) < len(distinct):
        length += 1
    return [each[:length] for each in ids]
