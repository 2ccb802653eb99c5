"""Batches keep all items in order, within their bounds."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gearmesh.batching import divided


@given(st.lists(st.integers(0, 12)), st.integers(1, 5), st.integers(1, 20))
def test_all_items_come_in_order_and_within_the_bounds(
    sizes: list[int], max_items: int, max_bytes: int
) -> None:
    batches = list(divided(sizes, lambda size: size, max_items=max_items, max_bytes=max_bytes))
    assert [size for batch in batches for size in batch] == sizes
    for batch in batches:
        assert 1 <= len(batch) <= max_items
        assert len(batch) == 1 or sum(batch) <= max_bytes
    for batch, following in pairwise(batches):
        full = len(batch) == max_items or sum(batch) + following[0] > max_bytes
        assert full, "no batch ends early"
