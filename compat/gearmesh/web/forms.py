"""Reads the values that a user typed or chose: the query of a page's address, and the fields of a form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

__all__ = ["Fields"]

#: Characters of one value that are read; a person does not type more.
MAX_VALUE_CHARS: Final = 2000
#: Fields of one form; a form has one for each chosen row of a page.
MAX_FIELDS: Final = 5000


class Fields:
    """The fields of a query or a form, by name. A missing field is empty, and a wrong number is the default."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value[:MAX_VALUE_CHARS])

    @classmethod
    def parse(cls, encoded: bytes) -> Fields:
        """Read a query string or the body of a form. Raises ValueError for more fields than a page has."""
        text = encoded.decode("utf-8", "replace")
        return cls(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS))

    def text(self, name: str) -> str:
        """The first value of this name, without spaces around it; ``""`` if there is none."""
        return self._values.get(name, [""])[0].strip()

    def exact(self, name: str) -> str:
        """Return the first value of this name with its spaces, which the name of a queue may have."""
        return self._values.get(name, [""])[0]

    def all(self, name: str) -> list[str]:
        """All values of this name."""
        return self._values.get(name, [])

    def number(self, name: str, default: int = 0, most: int = 10**9) -> int:
        """A whole number from 0 to ``most``; ``default`` if there is none."""
        text = self.text(name)
        return min(int(text), most) if text.isascii() and text.isdecimal() and len(text) < 16 else default
