"""Remembers the members of chords that ended last in this process, to link the chords' callbacks to them."""

from __future__ import annotations

import threading
from typing import Final

from opentelemetry.trace import Link, SpanContext

__all__ = ["ChordMembers"]

#: Chords that are remembered.
MAX_CHORDS: Final = 1000


class ChordMembers:
    """Keeps the spans of members by the UUID of the chord's callback. Safe in threads.

    The worker that has committed the last member sends the callback, after the member's span has ended. The callback
    continues the trace of the chord's sender, and has a link to that member.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: dict[str, SpanContext] = {}

    def ended(self, callback: str, span: SpanContext) -> None:
        """Remember the span of a member that has ended, of the chord with this callback."""
        with self._lock:
            self._spans.pop(callback, None)
            self._spans[callback] = span
            if len(self._spans) > MAX_CHORDS:
                del self._spans[next(iter(self._spans))]

    def links(self, uuid: str) -> list[Link]:
        """Return the links for a signature that is sent: one if it is the callback of such a chord, else none."""
        if not self._spans:
            return []
        with self._lock:
            span = self._spans.pop(uuid, None)
        return [] if span is None else [Link(span)]
