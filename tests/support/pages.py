"""Find a page of the documentation by its file name, in whichever part of ``docs/`` it is."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DOCS", "ROOT", "page_path", "page_paths"]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def page_paths() -> list[Path]:
    """The pages of the repository that people read: all of the site, and the README."""
    found = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    return sorted(path for path in found if not any(part.startswith((".", "_")) for part in path.parts))


def page_path(name: str) -> Path:
    """The page of ``docs/`` with this file name, such as ``redis.md``. The names of pages are unique."""
    found = list(DOCS.rglob(name))
    assert len(found) == 1, f"{name}: one page of docs/ should have this name, found {found}"
    return found[0]
