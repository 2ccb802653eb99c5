"""The members of chords that ended last in this process, to link the callbacks of the chords to them."""

from __future__ import annotations

import threading
from typing import Final

from opentelemetry.trace import Link, SpanContext

__all__ = ["ChordMembers"]

#: Chords that are remembered.
MAX_CHORDS: Final = 1000


class ChordMembers:
    """Spans of members by the UUID of the chord's callback. Safe in threads.

    The callback is sent by the worker that has committed the last member, after the member's span has ended. It goes on
    with the trace of the chord's sender, and has a link to that member.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: dict[str, SpanContext] = {}

    def ended(self, callback: str, span: SpanContext) -> None:
        """A member of the chord with this callback has ended."""
        with self._lock:
            self._spans.pop(callback, None)
            self._spans[callback] = span
            if len(self._spans) > MAX_CHORDS:
                del self._spans[next(iter(self._spans))]

    def links(self, uuid: str) -> list[Link]:
        """The links for a signature that is sent: one, if it is the callback of such a chord."""
        if not self._spans:
            return []
        with self._lock:
            span = self._spans.pop(uuid, None)
        return [] if span is None else [Link(span)]
