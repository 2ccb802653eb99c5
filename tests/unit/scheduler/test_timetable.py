"""A timetable says which tasks are due: plain numbers in, plain numbers out."""

from __future__ import annotations

from datetime import timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearmesh.app.periodic import CatchUp, Periodic
from gearmesh.cron import parse
from gearmesh.interfaces.lock import Claim
from gearmesh.locks.memory import MemoryLock
from gearmesh.scheduler.clock import Now
from gearmesh.scheduler.timetable import CLOCK_CHECK_INTERVAL_NS, Timetable
from gearmesh.wire import gotime

SECOND = 10**9
MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
NOON = gotime.parse("2024-03-01T12:00:00Z")


def entry(spec: str, catch_up: CatchUp = None) -> Periodic:
    nothing: Any = None
    return Periodic("x", spec, nothing, parse(spec, timezone.utc), catch_up)


class Host:
    """A timetable with one entry, and the clocks of its machine."""

    def __init__(
        self, spec: str, wall: int = NOON, catch_up: CatchUp = None, fired: int | None = None
    ) -> None:
        self.entries = {"x": entry(spec, catch_up)}
        self.table = Timetable()
        self.wall, self.steady = wall, 0
        self.missed: list[tuple[int, int]] = []
        self.fired = {} if fired is None else {"x": fired}
        self.first, self.pause = self.look()

    def look(self) -> tuple[list[int], float]:
        firings, missed, pause = self.table.look(Now(self.wall, self.steady), self.entries, self.fired)
        self.missed += [(each.count, each.last_ns) for each in missed]
        return [firing.due_ns for firing in firings], pause

    def after(self, seconds: float, step: float = 0.0) -> list[str]:
        """Return the times that are due some time later, when the wall clock has also been set by ``step`` seconds."""
        self.steady += round(seconds * SECOND)
        self.wall += round((seconds + step) * SECOND)
        due, self.pause = self.look()
        return [gotime.format_ns(moment)[11:19] for moment in due]


def test_a_time_that_is_due_now_is_not_due_at_the_start() -> None:
    host = Host("* * * * *")
    assert (host.first, host.pause) == ([], 60.0)
    assert host.after(60) == ["12:01:00"]
    assert host.after(59) == []
    assert host.pause == 1.0
    assert host.after(1) == ["12:02:00"]


def test_it_sleeps_until_it_is_due_but_looks_at_the_clock_now_and_then() -> None:
    host = Host("30 12 * * *")
    assert host.pause * SECOND == CLOCK_CHECK_INTERVAL_NS
    host.after(29 * 60 + 59.5)
    assert host.pause == 0.5


def test_nothing_to_do() -> None:
    firings, missed, pause = Timetable().look(Now(NOON, 0), {})
    assert (firings, missed, pause * SECOND) == ([], [], CLOCK_CHECK_INTERVAL_NS)
    assert Host("0 0 31 2 *").pause * SECOND == CLOCK_CHECK_INTERVAL_NS


def test_every_counts_from_the_start() -> None:
    host = Host("@every 90s", NOON + 200_000_000)
    assert host.pause == pytest.approx(60.0)
    assert host.after(60) == []
    assert host.pause == pytest.approx(29.8)
    assert host.after(29.8) == ["12:01:30"]
    assert host.after(90.3) == ["12:03:00"]
    assert host.after(89.7) == ["12:04:30"]


def test_after_a_sleep_the_last_time_is_fired_and_the_earlier_are_missed() -> None:
    host = Host("*/5 * * * *")
    assert host.after(17 * 60) == ["12:15:00"]
    assert host.missed == [(2, NOON + 10 * MINUTE)]


def test_of_very_many_the_last_ones_are_told() -> None:
    host = Host("* * * * *")
    assert host.after(30 * 86_400) == ["12:00:00"]
    ((count, last),) = host.missed
    assert count == 99
    assert last == host.wall - MINUTE


def test_every_that_was_slept_through() -> None:
    host = Host("@every 1s")
    assert host.after(10) == ["12:00:10"]
    assert host.missed == [(9, NOON + 9 * SECOND)]
    assert host.after(1) == ["12:00:11"]


def test_one_that_was_down_fires_nothing_of_the_past() -> None:
    assert Host("0 * * * *", NOON + 5 * MINUTE, fired=None).first == []


@pytest.mark.parametrize(
    ("catch_up", "hours"),
    [
        (1, [12]),
        (2, [11, 12]),
        (10, [9, 10, 11, 12]),  # there were no more
        (timedelta(minutes=30), [12]),
        (timedelta(hours=2), [11, 12]),
        (timedelta(days=30), [9, 10, 11, 12]),
    ],
)
def test_unless_it_is_asked_to(catch_up: CatchUp, hours: list[int]) -> None:
    host = Host("0 * * * *", NOON + 5 * MINUTE, catch_up, fired=NOON - 4 * HOUR)
    assert host.first == [NOON + (hour - 12) * HOUR for hour in hours]
    assert sum(count for count, _ in host.missed) == 4 - len(hours)
    assert host.after(55 * 60) == ["13:00:00"]


def test_much_is_caught_up_if_much_is_asked_for() -> None:
    host = Host("* * * * *", NOON, timedelta(days=2), fired=NOON - 86_400 * SECOND)
    assert len(host.first) == 1440
    host = Host("* * * * *", NOON, 1200, fired=NOON - 86_400 * SECOND)
    assert len(host.first) == 1200


def test_a_clock_set_forward_skips_nothing() -> None:
    host = Host("*/5 * * * *", NOON - 10 * SECOND)
    assert host.after(5, step=600) == ["12:00:00", "12:05:00"]
    assert host.missed == []
    assert host.after(4) == []
    assert host.after(1) == ["12:10:00"]


def test_a_clock_set_forward_by_days_was_wrong_before() -> None:
    """A jump of more than three hours is taken for a correction of the clock, as in cron(8)."""
    host = Host("0 * * * *", NOON)
    assert host.after(1, step=50 * 365 * 86_400) == ["12:00:00"]
    assert host.missed
    assert host.after(3600) == ["13:00:00"]


def test_a_clock_set_back_stops_nothing() -> None:
    """Go stands still until the clock has caught up."""
    host = Host("* * * * *", NOON - 30 * SECOND)
    assert host.after(30) == ["12:00:00"]
    assert host.after(30, step=-3600) == []
    assert host.pause == 30.0
    assert host.after(30) == ["11:01:00"]


def test_a_run_is_due_again_when_the_clock_is_set_back_over_it() -> None:
    """… and the lock refuses it, see below."""
    host = Host("0 * * * *", NOON - 10 * SECOND)
    assert host.after(10) == ["12:00:00"]
    assert host.after(60, step=-120) == []
    assert host.after(60) == ["12:00:00"]


@pytest.mark.parametrize("step", [-7200.0, -1.5, 7200.0, 1.5])
def test_every_ignores_steps_of_the_wall_clock(step: float) -> None:
    host = Host("@every 60s")
    assert len(host.after(60)) == 1
    assert host.after(30, step=step) == []
    assert host.pause == pytest.approx(30, abs=0.51)
    assert len(host.after(30.5)) == 1
    assert host.missed == []


def test_a_clock_that_is_slewed_has_not_been_set() -> None:
    host = Host("* * * * *", NOON)
    assert host.after(60.4, step=-0.4) == ["12:01:00"]
    assert host.after(59.5, step=0.5) == ["12:02:00"]
    assert host.missed == []


def test_entries_that_come_later_begin_later() -> None:
    table, entries = Timetable(), {"a": entry("* * * * *")}
    table.look(Now(NOON, 0), entries)
    entries["b"] = entry("@every 40s")
    _, _, pause = table.look(Now(NOON + 10 * SECOND, 10 * SECOND), entries)
    assert pause == 40.0
    firings, _, _ = table.look(Now(NOON + 60 * SECOND, 60 * SECOND), entries)
    assert [firing.due_ns - NOON for firing in firings] == [50 * SECOND, 60 * SECOND]


class Machine(Host):
    """One of several that share a lock, and its own idea of the time."""

    def __init__(self, spec: str, name: str, lock: MemoryLock, skew: int) -> None:
        super().__init__(spec, NOON + skew)
        self.name, self.lock, self.number = name, lock, 0
        self.begun = self.wall

    def wake(self, real: int, step: int) -> list[int]:
        """Return the runs for which the scheduler wins the lock at a real moment."""
        self.wall += real - self.steady + step
        self.steady = real
        won = []
        firings, _, self.pause = self.table.look(Now(self.wall, self.steady), self.entries)
        for firing in firings:
            self.number += 1
            claim = Claim(
                "key",
                f"{self.name}{self.number}",
                firing.due_ns,
                firing.entry.next_after(firing.due_ns),
                self.wall,
            )
            if self.lock.take(claim):
                won.append(firing.due_ns)
        return won


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([("* * * * *", 60), ("*/5 * * * *", 300), ("@every 10s", 10)]),
    st.lists(st.floats(-0.9, 0.9), min_size=1, max_size=4),
    st.data(),
)
def test_machines_with_different_clocks_fire_each_once(
    spec: tuple[str, int], skews: list[float], data: st.DataObject
) -> None:
    """Clocks that differ by less than a period, half of it to either side: no moment is fired twice, or left out."""
    text, period = spec
    real = 0
    lock = MemoryLock(clock=lambda: real / SECOND)
    hosts = [
        Machine(text, f"host{n}-", lock, round(skew * period / 2 * SECOND)) for n, skew in enumerate(skews)
    ]
    wakes = [round(host.pause * SECOND) for host in hosts]
    fired: list[int] = []
    moments: list[int] = []
    while real < 12 * period * SECOND:
        n = min(range(len(hosts)), key=lambda n: wakes[n])
        real = max(real, wakes[n]) + data.draw(st.integers(0, 50_000_000))  # machines are busy, too
        for due in hosts[n].wake(real, 0):
            fired.append(due)
            moments.append(real)
        wakes[n] = real + round(hosts[n].pause * SECOND)
    assert len(fired) == len(set(fired))
    assert len(fired) in range(11, 14)
    assert all(later - before < 2 * period * SECOND for before, later in pairwise(moments))


@pytest.mark.parametrize(
    ("spec", "step", "again"),
    [
        ("0 * * * *", -120, []),  # within its hour: not again
        ("* * * * *", -600, [-8 * MINUTE]),  # longer ago than its minute: it goes on
        ("0 0 * * *", -3600, []),
    ],
)
def test_a_clock_set_back_fires_nothing_again_within_its_period(
    spec: str, step: int, again: list[int]
) -> None:
    start = gotime.parse("2024-03-01T23:59:50Z")
    midnight = start + 10 * SECOND
    real = 0
    lock = MemoryLock(clock=lambda: real / SECOND)
    host = Machine(spec, "host", lock, start - NOON)
    real = 10 * SECOND
    assert host.wake(real, 0) == [midnight]
    real += 60 * SECOND
    host.wake(real, step * SECOND)
    real += min(-step, 60) * SECOND
    assert host.wake(real, 0) == [midnight + shift for shift in again]
