"""List the classes of the package by folder, each with the first sentence of its docstring.

``docs/conf.py`` puts the list into the page "Names in the code". ``python scripts/class_list.py`` prints it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parent.parent / "compat" / "gearmesh"

#: Matches a role such as ``:class:`~gearmesh.App` ``.
_ROLE = re.compile(r":\w+:`[~.]*(?:[\w.]*\.)?(\w+)`")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`])")


class ClassRow(NamedTuple):
    """One public class: its file below the package, its name, and its first sentence."""

    path: Path
    name: str
    sentence: str


def classes() -> Iterator[ClassRow]:
    """The public classes of the package, in the order of their files."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield ClassRow(
                    path.relative_to(PACKAGE), node.name, first_sentence(ast.get_docstring(node) or "")
                )


def first_sentence(docstring: str) -> str:
    """Write the first sentence of a docstring as Markdown; ``""`` if there is none."""
    text = " ".join(docstring.split("\n\n")[0].split())
    return _ROLE.sub(r"`\1`", _SENTENCE_END.split(text)[0]).replace("``", "`")


def class_list() -> str:
    """Write the list as Markdown: a heading and a table for each folder."""
    folders: dict[str, list[ClassRow]] = {}
    for row in classes():
        folders.setdefault(row.path.parent.as_posix(), []).append(row)
    parts = []
    for folder, rows in sorted(folders.items()):
        title = "Beside the folders" if folder == "." else f"`{folder}`"
        lines = [f"| `{row.name}` | `{row.path.name}` | {_cell(row.sentence)} |" for row in rows]
        parts.append(
            "\n".join(
                (f"### {title}\n", f"{_purpose(folder)}\n", "| class | file | |", "|---|---|---|", *lines)
            )
        )
    return "\n\n".join(parts)


def _purpose(folder: str) -> str:
    """The first sentence of the folder's ``__init__``."""
    if folder == ".":
        return "These modules import none of the folders below."
    tree = ast.parse((PACKAGE / folder / "__init__.py").read_text("utf-8"))
    return first_sentence(re.sub(r"^gearmesh[.\w]*: (\w)", _upper, ast.get_docstring(tree) or ""))


def _upper(match: re.Match[str]) -> str:
    return match[1].upper()


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


if __name__ == "__main__":
    print(class_list())
