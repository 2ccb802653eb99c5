"""Hides values by the names that they stand under: arguments, headers, fields of JSON, and ``name=value`` in texts.

Everything that a page shows of a message or a state goes through a :class:`Masker`, and so does the text that a search
compares: a user cannot find out a hidden value by searching for it.
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
#: Characters of a string that is looked into as JSON.
MAX_NESTED_JSON_CHARS: Final = 1_000_000

#: Behind a name in a text: the value, in quotes that may be escaped, or up to the next space or separator; where an
#: array or an object begins, all of the rest, since its end is not known.
_VALUE: Final = (
    r"(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
    r"|[\[{].*|(?P<slash>\\+)(?P<quote>[\"']).*?(?P=slash)(?P=quote)|[^\s,;&}\])\"']+)"
)


class Masker:
    """Hides the values under some names.

    Args:
        patterns: parts of names, in any letter case; none: nothing is hidden but passwords in URLs.
        parameters: the names of a task's parameters, by the task's name; Machinery's arguments mostly have none.
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
        """Any text, without passwords of URLs and without the values of ``name=value`` and ``"name": "value"``."""
        if self._pairs is not None:
            text = self._pairs.sub(rf"\g<1>{HIDDEN}", text)
        return redact_text(text)

    def json_text(self, text: str) -> str:
        """A JSON document, with the values under hidden names replaced; a text that is no JSON as :meth:`text`."""
        try:
            value = json.loads(text)
            masked = self.value(value)
        except (ValueError, RecursionError):
            return self.text(text)
        # A text with nothing to hide stays as it was written: numbers and escapes are as Go has them.
        return text if masked == value else json.dumps(masked, ensure_ascii=False)

    def value(self, value: Any, task: str = "") -> Any:
        """A value of JSON, with the values under hidden names replaced at any depth, in JSON within strings too.

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
        """The arguments of a task, of which the app may know the names."""
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
