"""Draw the pictures of docs/pictures: each ``NAME.txt`` becomes ``NAME.svg``. ``python scripts/pictures.py``.

A line of a text is one of these; numbers are columns and rows of a grid (one is 10 by 10 pixels)::

    title TEXT                              what a reader hears who does not see the picture
    size WIDTH HEIGHT
    box NAME X Y WIDTH HEIGHT KIND | TEXT / TEXT      KIND: python, go, server, state, good, bad, plain
    arrow FROM SIDE -> TO SIDE [dashed] | TEXT        SIDE: left, right, top, bottom; then +N or -N to move along it
    note X Y | TEXT / TEXT
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
#: Pixels of one step of the grid.
STEP = 10
LINE_HEIGHT = 17
#: Fill and border of each kind of box. Texts are black, with a contrast above 7 on each fill.
KINDS = {
    "python": ("#dcecf7", "#33658a"),
    "go": ("#d9f2ee", "#1d7a6c"),
    "server": ("#fdf0d2", "#9a6b00"),
    "state": ("#eeeeee", "#555555"),
    "good": ("#dff2dc", "#2f7a2a"),
    "bad": ("#f9dcdc", "#a52a2a"),
    "plain": ("#ffffff", "#777777"),
}


class Box(NamedTuple):
    """A rectangle with its text, in pixels."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    text: str

    def anchor(self, side: str) -> tuple[float, float]:
        """The point on a side: ``left`` is the middle of that side, ``bottom+3`` is three steps from its middle."""
        for mark in "+-":
            if mark in side:
                side, shift = side.split(mark)[0], float(mark + side.split(mark)[1]) * STEP
                break
        else:
            shift = 0.0
        middle, centre = self.x + self.width / 2, self.y + self.height / 2
        return {
            "left": (self.x, centre + shift),
            "right": (self.x + self.width, centre + shift),
            "top": (middle + shift, self.y),
            "bottom": (middle + shift, self.y + self.height),
        }[side]


def lines_at(x: float, y: float, text: str, anchor: str, css: str = "") -> Iterator[str]:
    """Draw the lines of a text, centred on y."""
    lines = [line.strip() for line in text.split("/")]
    for number, line in enumerate(lines):
        at = y + (number - (len(lines) - 1) / 2) * LINE_HEIGHT + 5
        yield f'<text x="{x:g}" y="{at:g}" text-anchor="{anchor}"{css}>{escape(line)}</text>'


def draw(source: str) -> str:
    """Draw one picture as SVG."""
    boxes: dict[str, Box] = {}
    shapes: list[str] = []
    title, width, height = "", 0.0, 0.0
    for line in source.splitlines():
        words, _, text = line.partition("|")
        parts, text = words.split(), text.strip()
        if not parts or parts[0].startswith("#"):
            continue
        if parts[0] == "title":
            title = line.removeprefix("title").strip()
        elif parts[0] == "size":
            width, height = (float(part) * STEP for part in parts[1:3])
        elif parts[0] == "box":
            numbers = [float(part) * STEP for part in parts[2:6]]
            boxes[parts[1]] = Box(numbers[0], numbers[1], numbers[2], numbers[3], parts[6], text)
        elif parts[0] == "note":
            shapes += lines_at(float(parts[1]) * STEP, float(parts[2]) * STEP, text, "start", ' class="note"')
        elif parts[0] == "arrow":
            shapes += arrow(
                boxes[parts[1]].anchor(parts[2]), boxes[parts[4]].anchor(parts[5]), "dashed" in parts, text
            )
        else:
            raise ValueError(f"unknown line: {line}")
    for box in boxes.values():
        fill, border = KINDS[box.kind]
        shapes.append(
            f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="6" fill="{fill}"'
            f' stroke="{border}" stroke-width="1.5"/>'
        )
        shapes += lines_at(box.x + box.width / 2, box.y + box.height / 2, box.text, "middle")
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}"'
            f' height="{height:g}" role="img" aria-label="{escape(title, quote=True)}">',
            f"<title>{escape(title)}</title>",
            "<style>text{font:14px system-ui,'Segoe UI','DejaVu Sans',sans-serif;fill:#111}.note{fill:#444}"
            ".label{font-size:13px;fill:#333;paint-order:stroke;stroke:#fff;stroke-width:5px}</style>",
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8"'
            ' orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="#333"/></marker></defs>',
            f'<rect width="{width:g}" height="{height:g}" fill="#fff"/>',
            *shapes,
            "</svg>\n",
        ]
    )


def arrow(start: tuple[float, float], end: tuple[float, float], dashed: bool, text: str) -> Iterator[str]:
    """Draw a line with an arrowhead, and its text beside its middle."""
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    yield (
        f'<line x1="{start[0]:g}" y1="{start[1]:g}" x2="{end[0]:g}" y2="{end[1]:g}" stroke="#333" stroke-width="1.5"'
        f'{dash} marker-end="url(#head)"/>'
    )
    if text:
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        upright = abs(start[0] - end[0]) < abs(start[1] - end[1]) / 2
        at = (middle[0] + 8, middle[1]) if upright else (middle[0], middle[1] - 11)
        yield from lines_at(*at, text, "start" if upright else "middle", ' class="label"')


def main() -> int:
    for path in sorted(FOLDER.glob("*.txt")):
        path.with_suffix(".svg").write_text(draw(path.read_text("utf-8")), "utf-8")
        print(path.with_suffix(".svg"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
