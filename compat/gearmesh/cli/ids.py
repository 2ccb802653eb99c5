"""Completes UUIDs of which a user typed the beginning."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from gearmesh.app.app import App
from gearmesh.errors import BackendError
from gearmesh.interfaces.backend import SupportsSearch

__all__ = ["cannot_look_up", "full_ids"]

#: The beginning of one of Machinery's UUIDs: the prefix and some of the 36 characters after it.
_BEGINNING: Final = re.compile(r"(task|group|chord)_[0-9a-f][0-9a-f-]{3,34}")
#: Number of UUIDs that an error names.
MAX_SHOWN_UUIDS: Final = 3


def full_ids(app: App, typed: Iterable[str]) -> list[str]:
    """Replace each beginning of a UUID by the whole UUID, and leave all other words as they were typed.

    If the backend cannot look UUIDs up, beginnings stay as they are, too.

    Raises:
        BackendError: no stored UUID, or several of them, begin with a typed beginning.
    """
    return [_full_id(app, word) if _BEGINNING.fullmatch(word) else word for word in typed]


def cannot_look_up(app: App, word: str) -> bool:
    """True if the word may be the beginning of a UUID that the backend cannot look up."""
    return _BEGINNING.fullmatch(word) is not None and not isinstance(app.backend, SupportsSearch)


def _full_id(app: App, beginning: str) -> str:
    with app.reached_backend() as backend:
        if not isinstance(backend, SupportsSearch) or backend.read([beginning]) != [None]:
            return beginning
        found = sorted(backend.find_uuids(beginning, MAX_SHOWN_UUIDS + 1))
    if beginning in found:
        return beginning
    if not found:
        raise BackendError(
            f"no stored UUID begins with {beginning!r}: the task was never sent, or its state has expired"
        )
    if len(found) > 1:
        more = ", …" if len(found) > MAX_SHOWN_UUIDS else ""
        raise BackendError(
            f"several UUIDs begin with {beginning!r}: {', '.join(found[:MAX_SHOWN_UUIDS])}{more}; give more characters"
        )
    return found[0]
