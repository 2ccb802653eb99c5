"""Divides a script's input into calls, each of which keeps the server busy only briefly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from gearmesh.batching import divided

__all__ = ["MAX_BYTES", "MAX_ENTRIES", "batches", "chunks"]

T = TypeVar("T")

#: Bounds of one call of a script, in entries and bytes.
MAX_ENTRIES = 256
MAX_BYTES = 1 << 20


def chunks(items: Sequence[T], weight: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """Divide items, each of which takes ``weight(item)`` bytes of the payload, into as many calls as they need."""
    return divided(items, weight, max_items=MAX_ENTRIES, max_bytes=MAX_BYTES)


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Divide small items into as many calls as they need."""
    for start in range(0, len(items), MAX_ENTRIES):
        yield items[start : start + MAX_ENTRIES]
