"""Hides values by their names: arguments, headers, fields of JSON, and ``name=value`` in texts.

A :class:`Masker` masks all parts of a message or a state before a page shows them. It also masks the text that a search
compares, so that a user cannot find out a hidden value by searching for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gearmesh.urls import redact_text

__all__ = ["HIDDEN", "Masker"]

#: Shown in place of a hidden value.
HIDDEN: Final = "••••••"
#: Characters of a string that is read as JSON; in a longer one, only ``name=value`` is hidden.
MAX_NESTED_JSON_CHARS: Final = 1_000_000

#: Matches the value after a name in a text: in quotes that may be escaped, or up to the next space or separator. If an
#: array or an object begins, it matches the rest of the text, since the end of the value is not known.
_VALUE: Final = (
    r"(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
    r"|[\[{].*|(?P<slash>\\+)(?P<quote>[\"']).*?(?P=slash)(?P=quote)|[^\s,;&}\])\"']+)"
)


class Masker:
    """Hides the values under some names.

    Args:
        patterns: parts of names, in any letter case; empty: only passwords in URLs are hidden.
        parameters: the names of a task's parameters, by the task's name, since Machinery's arguments rarely have names.
    """

    def __init__(
        self, patterns: Iterable[str], parameters: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.patterns = tuple(dict.fromkeys(each.strip().lower() for each in patterns if each.strip()))
        self._parameters = parameters or {}
        words = "|".join(map(re.escape, self.patterns))
        self._pairs = (
            re.compile(rf"(?is)(\\*[\"']?[\w.-]*(?:{words})[\w.-]*\\*[\"']?\s*[:=]\s*){_VALUE}")
            if words
            else None
        )

    def hides(self, name: str) -> bool:
        """True if values under this name are hidden."""
        lower = name.lower()
        return any(pattern in lower for pattern in self.patterns)

    def parameter(self, task: str, position: int) -> str:
        """The name of a task's parameter; ``""`` if the app does not know it."""
        names = self._parameters.get(task, ())
        return names[position] if position < len(names) else ""

    def text(self, text: str) -> str:
        """Hide passwords of URLs in a text, and the values of ``name=value`` and ``"name": "value"``."""
        if self._pairs is not None:
            text = self._pairs.sub(rf"\g<1>{HIDDEN}", text)
        return redact_text(text)

    def json_text(self, text: str) -> str:
        """Hide the values under hidden names in a JSON document; treat any other text as :meth:`text` does."""
        try:
            value = json.loads(text)
            masked = self.value(value)
        except (ValueError, RecursionError):
            return self.text(text)
        # If nothing is hidden, the text stays unchanged, so numbers and escapes look as Go wrote them.
        return text if masked == value else json.dumps(masked, ensure_ascii=False)

    def value(self, value: Any, task: str = "") -> Any:
        """Hide the values under hidden names in a value of JSON, at any depth, and in strings that hold JSON.

        Raises RecursionError for a value that is nested deeper than Python's stack.
        """
        if isinstance(value, dict):
            name = value.get("Name")
            own = name if isinstance(name, str) and "UUID" in value else task
            hidden_arg = "Type" in value and isinstance(name, str) and self.hides(name)
            return {
                key: HIDDEN
                if self.hides(key) or (hidden_arg and key == "Value")
                else self._arguments(each, own)
                if key == "Args" and isinstance(each, list)
                else self.value(each, own)
                for key, each in value.items()
            }
        if isinstance(value, list):
            return [self.value(each, task) for each in value]
        return self._string(value) if isinstance(value, str) else value

    def _arguments(self, args: list[Any], task: str) -> list[Any]:
        """Mask the arguments of a task by the names of its parameters, if the app knows them."""
        return [
            {**arg, "Value": HIDDEN}
            if isinstance(arg, dict) and self.hides(self.parameter(task, position))
            else self.value(arg, task)
            for position, arg in enumerate(args)
        ]

    def _string(self, text: str) -> str:
        if text.lstrip()[:1] in ("{", "[", '"') and len(text) <= MAX_NESTED_JSON_CHARS:
            return self.json_text(text)
        return self.text(text)
