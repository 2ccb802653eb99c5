"""Findings: faults and oddities of a document, with the bytes that they are about."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

__all__ = ["Finding", "excerpt", "place_of"]

#: Bytes of the document that are shown before and behind the ones that a finding is about.
EXCERPT_MARGIN_BYTES: Final = 24
#: Bytes of the finding's own place that are shown.
MAX_EXCERPT_BYTES: Final = 40


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One fault or oddity of a document.

    Attributes:
        level: ``fault``: somebody refuses the document, or reads something else than was written, or a part of the
            workflow never happens. ``note``: both sides agree about it, and it may surprise.
        start, end: the bytes that it is about; None: it is about the whole document.
        where: the field as a path: ``Args[1].Value``; ``""`` for the whole document.
        text: the fault, in one sentence.
        go: what Go does about it; ``""``: nothing of note.
        python: what Python does; ``""``: the same.
    """

    level: Literal["fault", "note"]
    text: str
    start: int | None = None
    end: int | None = None
    where: str = ""
    go: str = ""
    python: str = ""


def place_of(finding: Finding) -> str:
    """``bytes 12 to 15, Args[0].Value``; ``""`` for a finding about the whole document."""
    parts = []
    if finding.start is not None:
        last = (finding.end or finding.start + 1) - 1
        parts.append(f"byte {finding.start}" if last <= finding.start else f"bytes {finding.start} to {last}")
    if finding.where:
        parts.append(finding.where)
    return ", ".join(parts)


def excerpt(data: bytes, start: int, end: int) -> tuple[str, str]:
    """The text around some bytes, and a line of carets to print below it. What cannot be shown is a dot."""
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
    """ASCII as it is, else a dot for each byte: so carets and bytes agree."""
    return "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in part)
