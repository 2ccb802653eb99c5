"""Divide items into batches with bounds in items and bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

__all__ = ["divided"]

T = TypeVar("T")


def divided(
    items: Sequence[T], size: Callable[[T], int], *, max_items: int, max_bytes: int
) -> Iterator[Sequence[T]]:
    """Yield batches of ``items`` in order, each as large as the bounds allow; one item may be larger than a batch.

    Args:
        items: any number, none included.
        size: returns the bytes that an item takes.
        max_items: the largest number of items in a batch; above 0.
        max_bytes: the largest sum of sizes in a batch of several items.
    """
    start = total = 0
    for i, item in enumerate(items):
        more = size(item)
        if i > start and (i - start >= max_items or total + more > max_bytes):
            yield items[start:i]
            start, total = i, 0
        total += more
    if start < len(items):
        yield items[start:]
