"""A consumer's own account of its deliveries: its name, its fetch numbers, its waits."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh.transports import unacked as common
from gearmesh.transports.redis import unacked as module
from gearmesh.transports.redis.unacked import RedisUnackedDeliveries


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A monotonic clock that stands at 100 s until ``now`` is set."""
    clock = SimpleNamespace(now=100.0, time_ns=time.time_ns)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_consumer_s_name_is_of_no_other_incarnation() -> None:
    names = {common.consumer_name() for _ in range(100)} | {
        RedisUnackedDeliveries().consumer for _ in range(100)
    }
    assert len(names) == 200
    assert all(f":{os.getpid()}:" in name for name in names)
    assert common.consumer_name("mine").startswith("mine:")
    assert common.consumer_name("mine") != common.consumer_name("mine")
    assert RedisUnackedDeliveries("given").consumer == "given"


def test_an_account_begins_empty_and_nothing_is_lost() -> None:
    account = common.UnackedDeliveries()
    assert (account.open, account.losses, account.wake) == ({}, 0, None)
    assert not account.orphaned(1)


@given(st.lists(st.integers(0, 300)))
def test_no_fetch_number_is_given_out_twice(counts: list[int]) -> None:
    account = RedisUnackedDeliveries()
    numbers = [
        n for count in counts for first in [account.reserve(count)] for n in range(first, first + count)
    ]
    assert numbers == sorted(set(numbers))
    assert account.used is any(counts)


def test_a_name_that_is_used_again_has_new_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10**18
    monkeypatch.setattr(module, "time", SimpleNamespace(time_ns=lambda: now))
    last = RedisUnackedDeliveries("name").reserve(256) + 255
    now += 10**6
    assert RedisUnackedDeliveries("name").reserve(1) > last, "no consumer fetches as many in a millisecond"


def test_a_wait_counts_until_the_server_has_surely_ended_it(clock: SimpleNamespace) -> None:
    account = RedisUnackedDeliveries()
    account.waits |= {(105.0, "q"), (110.0, "r")}
    assert [account.waiting(queue) for queue in ("q", "r", "s")] == [True, True, False]
    clock.now = 106.0
    assert [account.waiting(queue) for queue in ("q", "r")] == [False, True]
    assert account.waits == {(110.0, "r")}


def test_the_next_parked_message_is_due_in_50_ms_and_wakes_the_consumer_once(clock: SimpleNamespace) -> None:
    account, wakes = RedisUnackedDeliveries(), list[float]()
    account.set_aside()
    assert account.aside_due == pytest.approx(100.05)
    account.aside_due, account.wake = 200.0, lambda: wakes.append(clock.now)
    account.set_aside()
    clock.now = 101.0
    account.set_aside()
    assert wakes == [100.0], "an earlier one is due anyway"
    assert account.aside_due == pytest.approx(100.05)
