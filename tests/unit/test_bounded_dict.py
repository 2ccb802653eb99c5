"""A cache never exceeds its limit, and it keeps the entries that were stored last."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh import bounded_dict as module
from gearmesh.bounded_dict import BoundedDict


def test_the_least_recently_used_entry_goes_first() -> None:
    cache = BoundedDict[str, int](2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]


def test_setdefault_keeps_the_first_value() -> None:
    cache = BoundedDict[str, int](2)
    assert (cache.setdefault("a", 1), cache.setdefault("a", 2), cache.get("a")) == (1, 1, 1)


def test_false_and_zero_are_values() -> None:
    cache = BoundedDict[str, int](2)
    cache.put("a", 0)
    assert (cache.get("a"), cache.setdefault("a", 5), cache.pop("a"), cache.get("a")) == (0, 0, 0, None)


def test_a_cache_of_no_entries_keeps_none() -> None:
    cache = BoundedDict[str, int](0)
    assert cache.setdefault("a", 1) == 1
    assert cache.get("a") is None


def test_an_entry_is_not_found_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    cache = BoundedDict[str, int](9, ttl_s=10)
    cache.put("a", 1)
    now = 1009.0
    assert cache.get("a") == 1, "a use does not prolong it"
    now = 1010.0
    assert cache.get("a") is None
    assert cache.setdefault("a", 2) == 2


def test_one_entry_may_be_larger_than_all_together() -> None:
    cache = BoundedDict[str, int](9, max_bytes=10)
    cache.put("small", 1, 1)
    cache.put("large", 2, 11)
    assert (cache.get("small"), cache.get("large")) == (None, 2)
    cache.put("small", 1, 1)
    assert (cache.get("small"), cache.get("large")) == (1, None)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 6))))
def test_it_is_bounded_in_entries_and_bytes(puts: list[tuple[str, int]]) -> None:
    cache = BoundedDict[str, int](3, max_bytes=10)
    sizes: dict[str, int] = {}
    for key, size in puts:
        cache.put(key, size, size)
        sizes[key] = size
        kept = [key for key in "abcdef" if key in cache._entries]
        assert cache._bytes == sum(sizes[key] for key in kept)
        assert len(kept) <= 3
        assert cache._bytes <= 10
        assert cache.get(key) == size
