"""A histogram: the number of values up to each of several bounds."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import msgspec

__all__ = ["Histogram"]


class Histogram(msgspec.Struct, gc=False):
    """Counts values in buckets. The caller gives the same bounds to each call.

    Attributes:
        counts: the number of values in each bucket; the last bucket has those above all bounds. Empty: no value yet.
        total: the sum of the values.
    """

    counts: list[int] = []
    total: float = 0.0

    def observe(self, value: float, bounds: Sequence[float], times: int = 1) -> None:
        """Count a value, ``times`` times."""
        if not self.counts:
            self.counts = [0] * (len(bounds) + 1)
        self.counts[bisect_left(bounds, value)] += times
        self.total += value * times

    def observe_all(self, values: list[float], bounds: Sequence[float]) -> None:
        """Count values. The list may be sorted in place."""
        if not values:
            return
        if not self.counts:
            self.counts = [0] * (len(bounds) + 1)
        self.total += sum(values)
        if max(values) <= bounds[0]:  # as with many quick tasks
            self.counts[0] += len(values)
            return
        values.sort()
        counts, before = self.counts, 0
        for bucket, bound in enumerate(bounds):
            if before == len(values):
                break
            upto = bisect_right(values, bound, before)
            counts[bucket] += upto - before
            before = upto
        counts[-1] += len(values) - before

    def add(self, other: Histogram) -> None:
        """Count all values of another histogram with the same bounds, too."""
        if not self.counts:
            self.counts = list(other.counts)
        elif other.counts:
            self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    @property
    def count(self) -> int:
        """The number of values."""
        return sum(self.counts)

    def cumulative(self, bounds: Sequence[float]) -> list[tuple[str, float]]:
        """Return Prometheus' buckets: each bound as text, with the number of values up to it."""
        counts = self.counts or [0] * (len(bounds) + 1)
        buckets, sum_so_far = [], 0
        for bound, count in zip((*map(repr, map(float, bounds)), "+Inf"), counts, strict=True):
            sum_so_far += count
            buckets.append((bound, float(sum_so_far)))
        return buckets
