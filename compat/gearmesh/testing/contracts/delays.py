"""The contract of delayed messages."""

from __future__ import annotations

import time

import pytest

from gearmesh.errors import GearmeshError
from gearmesh.interfaces.commit import Commit, Publish
from gearmesh.testing.contracts.support import OpenTap, TransportFixtures, signature


class DelayContract(TransportFixtures):
    """A delayed message is delivered unchanged, and not before its ETA."""

    def test_a_time_in_the_past_is_now(self, tap: OpenTap, queue: str) -> None:
        here = tap()
        here.publish(queue, signature(queue), eta_ns=time.time_ns() - 10**9)
        here.publish(queue, b"no time at all")
        assert here.waiting(queue) == [signature(queue), b"no time at all"]
        assert not here.verbs.lists_delayed or here.verbs.delayed() == []

    def test_not_before_its_time(self, tap: OpenTap, queue: str) -> None:
        here = tap(queue)
        here.quiet(0.05)
        due = time.time_ns() + 400_000_000
        here.publish(queue, signature(queue), eta_ns=due)
        waiting = here.waiting(queue)
        assert waiting == [] or time.time_ns() >= due, "the message came before its ETA"
        (message,) = here.take(1)
        assert time.time_ns() >= due
        assert message.body == signature(queue)
        assert not here.verbs.lists_delayed or here.verbs.delayed() == []

    def test_delayed_are_listed_soonest_first(self, tap: OpenTap, queue: str) -> None:
        here = tap()
        if not here.verbs.lists_delayed:
            with pytest.raises(GearmeshError, match="delayed"):
                here.verbs.delayed()
            return
        now = time.time_ns()
        hours = [3, 1, 2]
        for hour in hours:
            here.publish(queue, signature(queue, hour), eta_ns=now + hour * 3600 * 10**9)
        listed = here.verbs.delayed()
        assert [entry.body for entry in listed] == [signature(queue, n) for n in (1, 2, 3)]
        for entry, hour in zip(listed, (1, 2, 3), strict=True):
            assert abs(entry.eta_ns - (now + hour * 3600 * 10**9)) < 1000
        assert [entry.body for entry in here.verbs.delayed(1)] == [signature(queue, 1)]

    def test_the_sooner_comes_sooner(self, tap: OpenTap, queue: str) -> None:
        here = tap(queue)
        now = time.time_ns()
        here.publish(queue, signature(queue, 2), eta_ns=now + 3_000_000_000)
        here.publish(queue, signature(queue, 1), eta_ns=now + 200_000_000)
        assert here.bodies(2) == [signature(queue, 1), signature(queue, 2)]

    def test_many_that_are_due_together(self, tap: OpenTap, queue: str) -> None:
        here = tap(queue)
        due = time.time_ns() + 200_000_000
        bodies = [signature(queue, n) for n in range(600)]
        here.verbs.commit([Commit(publishes=tuple(Publish(queue, body, due) for body in bodies))])
        started = time.monotonic()
        assert sorted(here.bodies(600)) == sorted(bodies)
        assert time.monotonic() - started < 15, (
            "the transport moves due messages one by one, and not in batches"
        )

    def test_each_goes_to_its_own_queue(self, tap: OpenTap, queue: str) -> None:
        here = tap(f"{queue}1", f"{queue}2")
        due = time.time_ns() + 100_000_000
        for name in (f"{queue}1", f"{queue}2"):
            here.publish(name, signature(name), eta_ns=due)
        assert {m.delivery.queue: m.body for m in here.take(2)} == {
            name: signature(name) for name in (f"{queue}1", f"{queue}2")
        }
