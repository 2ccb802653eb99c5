"""Compares stubs with a file that was written before."""

from __future__ import annotations

import difflib
from itertools import islice
from pathlib import Path
from typing import Final

__all__ = ["drift"]

#: Lines of a difference that are shown.
MAX_DIFFERENCE_LINES: Final = 60


def drift(text: str, path: Path) -> list[str]:
    """Return the lines of a unified difference between a file and the text that it should have; none if they agree."""
    if not path.exists():
        return [f"{path} does not exist"]
    before = path.read_text("utf-8").splitlines()
    lines = difflib.unified_diff(before, text.splitlines(), str(path), "as it should be now", lineterm="")
    return list(islice(lines, MAX_DIFFERENCE_LINES))
