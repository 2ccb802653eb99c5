"""The words of an announcement: the UUID of a task that has succeeded, or ``!`` with the UUID of one that has failed.
If one task has ended alone, the announcement is its state.

A caller that waits for a chord must hear at once that a member has failed, and need not read the states of all members
that have succeeded. A caller that waits for one quick task need not read its state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from gearmesh.errors import RemoteProtocolError
from gearmesh.interfaces.backend import Wake
from gearmesh.wire.codec import decode_state
from gearmesh.wire.state import TaskState

__all__ = ["hearing", "split_words", "word_of", "words_of"]

#: ``commit.lua`` writes it, too.
_FAILED: Final = "!"
#: The beginning of a state, which ``settle.lua`` writes.
_STATE: Final = '{"TaskUUID":"'


def word_of(uuid: str, *, failed: bool) -> str:
    """Return the word for a task that has ended."""
    return _FAILED + uuid if failed else uuid


def words_of(states: Sequence[TaskState]) -> list[str]:
    """Return a word for each of these states that is final."""
    return [word_of(state.TaskUUID, failed=not state.success) for state in states if state.final]


def split_words(text: str) -> list[str]:
    """Split an announcement into words. A state is one word."""
    return [text] if text.startswith(_STATE) else text.split(" ")


def hearing(wake: Wake) -> Callable[[Sequence[str]], None]:
    """Return a function that takes the words of an announcement and calls ``wake``."""

    def hear(words: Sequence[str]) -> None:
        if len(words) == 1 and words[0].startswith(_STATE):
            try:
                state = decode_state(words[0].encode())
            except RemoteProtocolError:  # another program has written it
                return
            if state.final:
                uuids = [state.TaskUUID]
                wake(uuids if state.success else [], [] if state.success else uuids, [state])
            return
        failed = [word[1:] for word in words if word.startswith(_FAILED)]
        wake([word for word in words if not word.startswith(_FAILED)] if failed else words, failed, ())

    return hear
