"""The outcome of an action: the address to go on at, and the line in the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Done", "Refused"]


@dataclass(frozen=True)
class Done:
    """An action that was carried out.

    Attributes:
        path: the page to go on at.
        audit: the action in one line, with the numbers of what it changed.
        query: of that page.
    """

    path: str
    audit: str
    query: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """The form asks for something that cannot be done as it is; nothing was changed."""
