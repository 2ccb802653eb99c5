"""The memory transport's reaper: which consumers count as dead, and when."""

from __future__ import annotations

import math

from tests.support.memory import hold, waiting

from gearmesh.transports.memory.broker import Broker
from gearmesh.transports.memory.reaper import Reaper


def test_a_consumer_is_dead_when_its_counter_stood_still_for_a_lease() -> None:
    broker = Broker()
    queue, reaper = broker.queue("q"), Reaper(broker, "me", 10.0)
    hold(queue, 1, "other")
    queue.beat("other")
    assert reaper.reap(["q"], 100.0) == 10.0, "the silence counts from the first look"
    assert reaper.reap(["q"], 109.0) == 1.0
    queue.beat("other")
    assert reaper.reap(["q"], 109.5) == 10.0, "it lives"
    assert reaper.reap(["q"], 119.5) == math.inf
    assert waiting(queue) == [b"1"]
    assert "other" not in queue.heartbeats


def test_a_reaper_lets_its_own_consumer_and_idle_ones_be() -> None:
    broker = Broker()
    queue, reaper = broker.queue("q"), Reaper(broker, "me", 1.0)
    hold(queue, 1, "me")
    queue.beat("idle")
    for now in (0.0, 100.0):
        assert reaper.reap(["q"], now) == math.inf
    assert list(queue.unacked) == ["me"]
    assert list(queue.heartbeats) == ["idle"]


def test_a_reaper_forgets_a_consumer_that_holds_nothing_meanwhile() -> None:
    broker = Broker()
    queue, reaper = broker.queue("q"), Reaper(broker, "me", 1.0)
    unacked = hold(queue, 1, "other")
    reaper.reap(["q"], 0.0)
    queue.release(unacked)
    reaper.reap(["q"], 0.5)
    hold(queue, 2, "other")
    assert reaper.reap(["q"], 2.0) == 1.0, "a new silence begins"
