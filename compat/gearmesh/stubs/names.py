"""Makes identifiers of Go and Python from names of tasks and parameters."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterable
from typing import Final

__all__ = ["go_name", "python_name", "unique"]

_WORDS: Final = re.compile(r"[^0-9A-Za-z]+|(?<=[a-z0-9])(?=[A-Z])")


def go_name(name: str) -> str:
    """Make an exported Go identifier: ``shop.resize_image`` becomes ``ShopResizeImage``."""
    words = [word for word in _WORDS.split(name) if word]
    joined = "".join(word[:1].upper() + word[1:] for word in words)
    return joined if joined[:1].isalpha() else f"X{joined}"


def python_name(name: str) -> str:
    """Make a Python identifier: ``shop.resizeImage`` becomes ``shop_resizeImage``, ``import`` becomes ``import_``."""
    joined = re.sub(r"[^0-9A-Za-z_]+", "_", name).strip("_") or "task"
    joined = joined if not joined[0].isdigit() else f"x_{joined}"
    return f"{joined}_" if keyword.iskeyword(joined) else joined


def unique(names: Iterable[str], taken: Collection[str] = ()) -> list[str]:
    """Return the names, each only once: a repeated name, or one that is taken, gets a number at its end."""
    seen = set(taken)
    found = []
    for name in names:
        other, number = name, 1
        while other in seen:
            number += 1
            other = f"{name}{number}"
        seen.add(other)
        found.append(other)
    return found
