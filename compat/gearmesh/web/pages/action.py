"""The outcome of an action: the page to show next, and the line for the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Done", "Refused"]


@dataclass(frozen=True)
class Done:
    """An action that was carried out.

    Attributes:
        path: the path of the page to show next.
        audit: the action in one line, with the number of changed things.
        query: the query of that page.
    """

    path: str
    audit: str
    query: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """Raised if a form asks for something that cannot be done; the action has changed nothing."""
