"""Texts that are kept as files: a test compares with them, and writes them anew with GEARMESH_WRITE_TEXTS=1."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "texts"


def check(name: str, text: str) -> None:
    """Compare a text with the one that is kept under its name, and name the file where they differ."""
    path = FOLDER / f"{name}.txt"
    if os.environ.get("GEARMESH_WRITE_TEXTS") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"{path} is missing; GEARMESH_WRITE_TEXTS=1 writes it"
    assert text == path.read_text(), f"{path} differs; GEARMESH_WRITE_TEXTS=1 writes it anew"
