"""The contract of leases: the unacked deliveries of consumers that die, or seem to be dead, return to their queues."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from kombu.message import Message

from gearmesh.interfaces.commit import Commit, Publish, Settle
from gearmesh.interfaces.transport import SupportsInspection
from gearmesh.testing.contracts.support import Hold, OpenTap, TransportFixtures, signature
from gearmesh.testing.waiting import AWAIT_TIMEOUT_S

LEASE = 1.0
NO_RECORDS = "the channel records no crashes (records_crashes is False): the broker only counts deliveries"


def _by_body(messages: Sequence[Message]) -> list[Message]:
    return sorted(messages, key=lambda message: bytes(message.body))


class LeaseContract(TransportFixtures):
    """Tests that a message is delivered again if its consumer dies, and not twice while its consumer lives."""

    def test_a_silent_consumer_loses_its_deliveries(self, tap: OpenTap, queue: str) -> None:
        bodies = [signature(queue, n) for n in range(5)]
        tap().publish(queue, *bodies)
        holder = tap(queue, prefetch=3, lease=LEASE)
        started = time.monotonic()
        held = holder.bodies(3)
        reaper = tap(queue, prefetch=5, lease=LEASE)
        assert reaper.bodies(2) == [body for body in bodies if body not in held]
        messages = reaper.take(3)
        assert time.monotonic() - started >= LEASE * 0.95, "not before a whole lease was watched"
        assert reaper.in_order(message.body for message in messages) == held
        reaper.check_losses(messages, 1, 1, 1)
        assert reaper.settle(*messages) == ["done"] * 3

    def test_a_channel_that_does_not_consume_may_reap(self, tap: OpenTap, queue: str) -> None:
        bodies = [signature(queue, n) for n in range(3)]
        tap().publish(queue, *bodies)
        holder = tap(queue, prefetch=2, lease=LEASE)
        holder.take(2)
        watcher = tap(lease=LEASE)
        began = time.monotonic()
        while watcher.waiting(queue) != bodies:
            assert time.monotonic() - began < AWAIT_TIMEOUT_S
            time.sleep(min(watcher.verbs.reap([queue]), LEASE / 5))
        assert time.monotonic() - began >= LEASE * 0.95, "not before a whole lease was watched"

    def test_reaped_messages_go_before_the_waiting(self, tap: OpenTap, hold: Hold, queue: str) -> None:
        bodies = [signature(queue, n) for n in range(5)]
        tap().publish(queue, *bodies)
        held = tap(queue, prefetch=3, lease=LEASE).bodies(3)
        reaper, (first,) = hold(lease=LEASE)
        left = [body for body in bodies if body not in (*held, first.body)]
        deadline = time.monotonic() + AWAIT_TIMEOUT_S
        while reaper.waiting(queue) != [*held, *left]:
            assert time.monotonic() < deadline
            reaper.drain()
        assert first.body == bodies[3] or not reaper.verbs.keeps_order

    def test_each_loss_is_counted(self, tap: OpenTap, queue: str) -> None:
        tap().publish(queue, b"x")
        for losses in range(3):
            here = tap(queue, prefetch=1, lease=LEASE / 2)
            here.check_losses(here.take(1), losses)

    def test_a_consumer_with_heartbeats_is_never_reaped(self, tap: OpenTap, hold: Hold, queue: str) -> None:
        holder, (message,) = hold(b"x", lease=LEASE)
        parent = tap()
        other = tap(queue, lease=LEASE)
        over = time.monotonic() + LEASE * 2.5
        while time.monotonic() < over:
            parent.verbs.heartbeat(holder.name, [queue])
            other.drain(LEASE / 10)
        assert not other.got
        assert holder.settle(message) == ["done"]

    def test_a_late_heartbeat_revives_no_consumer(self, tap: OpenTap, queue: str) -> None:
        tap().publish(queue, b"x")
        holder, parent = tap(queue, prefetch=1, lease=LEASE), tap()
        holder.take(1)
        parent.verbs.heartbeat(holder.name, [queue])
        assert isinstance(parent.verbs, SupportsInspection)
        assert parent.verbs.count(queue).consumers in (1, None)
        holder.close()
        parent.verbs.heartbeat(holder.name, [queue])
        assert parent.verbs.count(queue).consumers in (0, None)

    def test_a_consumer_that_drains_lives(self, tap: OpenTap, hold: Hold, queue: str) -> None:
        holder, (message,) = hold(b"x", lease=LEASE)
        other = tap(queue, prefetch=1, lease=LEASE)
        over = time.monotonic() + LEASE * 2.5
        while time.monotonic() < over:
            holder.drain(LEASE / 10)
            other.drain(LEASE / 10)
        assert not other.got
        assert holder.settle(message) == ["done"]

    def test_a_zombie_changes_nothing(self, hold: Hold, queue: str) -> None:
        zombie, (message,) = hold(b"x", lease=LEASE / 2)
        reaper, (again,) = hold(lease=LEASE / 2)
        for how in ("ack", "head", "tail", "park", "dead"):
            commit = Commit(
                publishes=(Publish(f"{queue}_next", b"next"),), settle=Settle(message.delivery, how)
            )
            assert zombie.verbs.commit([commit]) == ["lost"]
        assert reaper.waiting(f"{queue}_next") == []
        assert reaper.waiting(queue) == []
        zombie.close()
        assert reaper.waiting(queue) == [], "a closing consumer must not return a delivery that it has lost"
        assert reaper.settle(again) == ["done"]
        assert reaper.verbs.dead_letters(queue) == []

    def test_a_zombie_may_go_on(self, tap: OpenTap, hold: Hold, queue: str) -> None:
        zombie, (lost,) = hold(b"x", lease=LEASE / 2)
        reaper = tap(queue, prefetch=1, lease=LEASE / 2)
        reaper.settle(*reaper.take(1))
        reaper.close()
        assert zombie.settle(lost) == ["lost"]
        tap().publish(queue, b"y")
        (message,) = zombie.take(1)
        assert message.body == b"y"
        zombie.check_losses([message], 0)
        assert zombie.settle(message) == ["done"]

    def test_recover_puts_back_in_order(self, tap: OpenTap, hold: Hold, queue: str) -> None:
        bodies = [signature(queue, n) for n in range(5)]
        dead, held = hold(*bodies, prefetch=3)
        other = tap()
        assert other.verbs.recover(dead.name, [queue]) == 3
        assert other.waiting(queue) == bodies
        assert other.verbs.recover(dead.name, [queue]) == 0
        assert other.settle(*held) == ["lost"] * 3
        last = tap(queue, prefetch=5)
        last.check_losses(last.take(5), *[0] * 5)

    def test_recover_after_a_crash_counts_against_the_messages(self, tap: OpenTap, queue: str) -> None:
        tap().publish(queue, b"x")
        for losses in range(3):
            here = tap(queue, prefetch=1)
            here.check_losses(here.take(1), losses)
            assert tap().verbs.recover(here.name, [queue], crashed=True) == 1

    def test_running_tasks_are_isolated_and_waiting_ones_are_not(
        self, tap: OpenTap, hold: Hold, queue: str
    ) -> None:
        bodies = [signature(queue, n) for n in range(4)]
        tap().publish(queue, *bodies)
        dead, other = tap(queue, prefetch=4), tap()
        ids = [message.delivery.id for message in _by_body(dead.take(4))]
        assert other.verbs.recover(dead.name, [queue], crashed=True, running=ids[1:3]) == 4
        last, again = hold(prefetch=4)
        last.check_losses(again, *[1] * 4)
        if not last.verbs.records_crashes:
            pytest.skip(NO_RECORDS)
        assert last.in_order(message.body for message in again) == bodies
        assert [message.delivery.crash_count for message in _by_body(again)] == [None, 0, 0, None]

    @pytest.mark.parametrize(
        ("certain", "deaths"),
        [
            pytest.param(True, [(2, 0), (1, 1), (2, 1), (1, 2), (1, 3)], id="only if the message ran alone"),
            pytest.param(False, [(1, None), (1, 0.25), (1, 0.5)], id="an uncertain one is a quarter"),
        ],
    )
    def test_deaths_are_counted(
        self, tap: OpenTap, hold: Hold, queue: str, certain: bool, deaths: list[tuple[int, float | None]]
    ) -> None:
        """``deaths``: for each death, the number of messages that ran and the next crash count of the first message."""
        if not tap().verbs.records_crashes:
            pytest.skip(NO_RECORDS)
        tap().publish(queue, *(signature(queue, n) for n in range(3)))
        for running, counted in deaths:
            here = tap(queue, prefetch=3)
            ids = [message.delivery.id for message in _by_body(here.take(3))]
            tap().verbs.recover(here.name, [queue], crashed=True, running=ids[:running], certain=certain)
            last, messages = hold(prefetch=3)
            assert _by_body(messages)[0].delivery.crash_count == counted
            last.settle(*messages, how="head")
            last.stop()

    def test_an_isolated_message_that_is_done_is_cleared(self, tap: OpenTap, hold: Hold, queue: str) -> None:
        here, (message,) = hold(b"x")
        tap().verbs.recover(here.name, [queue], crashed=True, running=[message.delivery.id])
        other = tap(queue, prefetch=1)
        other.settle(*other.take(1))
        tap().publish(queue, b"x")
        (message,) = other.take(1)
        assert message.delivery.crash_count is None
        other.check_losses([message], 0)

    def test_an_isolated_message_at_the_tail_stays_isolated(
        self, tap: OpenTap, hold: Hold, queue: str
    ) -> None:
        if not tap().verbs.records_crashes:
            pytest.skip(NO_RECORDS)
        if not tap().verbs.keeps_order:
            pytest.skip("the channel keeps no order, so a queue has no tail")
        bodies = [signature(queue, n) for n in range(2)]
        here, (message,) = hold(*bodies)
        tap().verbs.recover(here.name, [queue], crashed=True, running=[message.delivery.id])
        here.stop()
        for count in (1, 2):
            last, (message,) = hold()
            assert (message.body, message.delivery.crash_count) == (bodies[0], count)
            last.settle(message, how="tail")
            (other,) = last.take(1)
            assert (other.body, other.delivery.crash_count) == (bodies[1], None), (
                "the other messages go first"
            )
            last.settle(other, how="tail")
            (message,) = last.take(1)
            assert (message.body, message.delivery.crash_count) == (bodies[0], count)
            assert message.delivery.redelivered, (
                "a worker lost it before, so the next one must read its state"
            )
            tap().verbs.recover(last.name, [queue], crashed=True, running=[message.delivery.id])
            last.stop()
        last = tap(queue, prefetch=2)
        found = {message.body: message for message in last.take(2)}
        assert found[bodies[0]].delivery.crash_count == 3
        assert last.settle(*found.values()) == ["done"] * 2
        tap().publish(queue, bodies[0])
        (message,) = last.take(1)
        assert (message.delivery.crash_count, message.delivery.redelivered) == (None, 0), (
            "an ack clears the count"
        )

    def test_held_lists_the_deliveries_of_a_consumer(self, tap: OpenTap, hold: Hold, queue: str) -> None:
        bodies = [signature(queue, n) for n in range(3)]
        holder, held = hold(*bodies, prefetch=2)
        other = tap()
        shown = sorted(other.verbs.held(holder.name, [queue]), key=lambda row: row[0].id)
        assert [(row[0].id, row[1]) for row in shown] == [(m.delivery.id, m.body) for m in held]
        settled = other.verbs.commit([Commit(settle=Settle(shown[0][0]))])
        assert settled == ["done"], "another channel may settle a delivery that it sees"
        assert other.verbs.held("nobody", [queue]) == []

    def test_recover_of_an_unknown_consumer(self, tap: OpenTap, queue: str) -> None:
        assert tap().verbs.recover("nobody", [queue, f"{queue}2"]) == 0
