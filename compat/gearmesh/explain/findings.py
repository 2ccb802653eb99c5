"""Findings: faults and oddities of a document, with the bytes that they are about."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

__all__ = ["Finding", "excerpt", "place_of"]

#: Bytes of the document that an excerpt shows on each side of the finding's own bytes.
EXCERPT_MARGIN_BYTES: Final = 24
#: Most of the finding's own bytes that an excerpt shows.
MAX_EXCERPT_BYTES: Final = 40


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One fault or oddity of a document.

    Attributes:
        level: ``fault``: Go or Python refuses the document, or reads another value than its writer meant, or a part of
            the workflow never happens. ``note``: Go and Python agree about it, but it may surprise the reader.
        start, end: the first byte that it is about, and the one behind the last; None: it is about the whole document.
        where: the field as a path: ``Args[1].Value``; ``""`` for the whole document.
        text: the fault, in one sentence.
        go: the behaviour of Go, as a sentence without its subject and full stop; ``""``: nothing of note.
        python: the behaviour of Python, in the same form; ``""``: it is that of Go.
    """

    level: Literal["fault", "note"]
    text: str
    start: int | None = None
    end: int | None = None
    where: str = ""
    go: str = ""
    python: str = ""


def place_of(finding: Finding) -> str:
    """Name the place, as ``bytes 12 to 15, Args[0].Value``; ``""`` for a finding about the whole document."""
    parts = []
    if finding.start is not None:
        last = (finding.end or finding.start + 1) - 1
        parts.append(f"byte {finding.start}" if last <= finding.start else f"bytes {finding.start} to {last}")
    if finding.where:
        parts.append(finding.where)
    return ", ".join(parts)


def excerpt(data: bytes, start: int, end: int) -> tuple[str, str]:
    """Return the text around some bytes, with dots for unprintable ones, and a line of carets to print below it."""
    end = max(end, start + 1)
    shown_end = min(end, start + MAX_EXCERPT_BYTES)
    low = max(0, start - EXCERPT_MARGIN_BYTES)
    high = min(len(data), shown_end + EXCERPT_MARGIN_BYTES)
    before, place, behind = data[low:start], data[start:shown_end], data[shown_end:high]
    head = ("…" if low else "") + _shown(before)
    middle = _shown(place)
    tail = _shown(behind) + ("…" if high < len(data) else "")
    return head + middle + tail, " " * len(head) + "^" * max(1, len(middle))


def _shown(part: bytes) -> str:
    """Return printable ASCII unchanged, and a dot for each other byte, so that each byte takes one column."""
    return "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in part)
