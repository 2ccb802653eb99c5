"""The order in which a worker takes messages from several queues."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh import ConfigError
from gearmesh.transports.queue_order import QueuePicker, picker_of


def firsts(order: QueuePicker, queues: list[str], turns: int) -> list[str]:
    return [order.turn(queues, 1)[0][0] for _ in range(turns)]


def test_fair_is_a_rotation() -> None:
    assert firsts(picker_of("fair"), ["a", "b", "c"], 6) == ["a", "b", "c", "a", "b", "c"]


def test_strict_is_the_order_given() -> None:
    order = picker_of("strict")
    assert [order.turn(["a", "b"], 10) for _ in range(2)] == [[("a", 10), ("b", 10)]] * 2


def test_weights_are_spread_out() -> None:
    assert "".join(firsts(picker_of({"a": 3, "b": 1}), ["a", "b"], 8)) == "aabaaaba"


@given(st.dictionaries(st.sampled_from("abcde"), st.integers(1, 9), min_size=1), st.integers(1, 1000))
def test_everybody_comes_first_by_weight(weights: dict[str, int], credit: int) -> None:
    order, queues, total = picker_of(weights), sorted(weights), sum(weights.values())
    turns = [order.turn(queues, credit) for _ in range(total)]
    assert Counter(turn[0][0] for turn in turns) == weights
    for turn in turns:
        assert sorted(queue for queue, _ in turn) == queues
        assert sum(most for _, most in turn) >= credit
        assert all(1 <= most <= credit for _, most in turn)


@pytest.mark.parametrize("wrong", ["random", {"a": 0}, {"a": True}, {"a": 1.5}, 3])
def test_picker_of_refuses_a_value_that_is_no_order(wrong: object) -> None:
    with pytest.raises(ConfigError):
        picker_of(wrong)  # type: ignore[arg-type]
