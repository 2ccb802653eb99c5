"""The words of an announcement: the UUID of a task that has succeeded, and ``!`` with the UUID of one that has failed.

A caller that waits for a chord must hear at once that a member has failed, and need not read the states of all members
that have succeeded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from gearmesh.interfaces.backend import Wake
from gearmesh.wire.state import TaskState

__all__ = ["hearing", "word_of", "words_of"]

#: ``commit.lua`` writes it, too.
_FAILED: Final = "!"


def word_of(uuid: str, *, failed: bool) -> str:
    """Return the word for a task that has ended."""
    return _FAILED + uuid if failed else uuid


def words_of(states: Sequence[TaskState]) -> list[str]:
    """Return a word for each of these states that is final."""
    return [word_of(state.TaskUUID, failed=not state.success) for state in states if state.final]


def hearing(wake: Wake) -> Callable[[Sequence[str]], None]:
    """Return a function that takes the words of an announcement and calls ``wake``."""

    def hear(words: Sequence[str]) -> None:
        failed = [word[1:] for word in words if word.startswith(_FAILED)]
        wake([word for word in words if not word.startswith(_FAILED)] if failed else words, failed)

    return hear
