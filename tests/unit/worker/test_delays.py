"""What waits in the broker while that goes away."""

from __future__ import annotations

import time

import pytest

from gearmesh.wire.commit import Commit, Publish
from gearmesh.worker import delays
from gearmesh.worker.delays import MOST, Delays


class Clock:
    """Unix time that stands still, but for :attr:`now`, in seconds."""

    now = 1_800_000_000.0

    def time_ns(self) -> int:
        return int(self.now * 1e9)

    def message(self, seconds: float, body: bytes = b"x") -> Commit:
        """One that is due in so many seconds."""
        return Commit(publishes=(Publish("q", body, int((self.now + seconds) * 1e9)),))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time_ns", clock.time_ns)
    return clock


def bodies(delays: Delays) -> list[bytes]:
    return [publish.body for publish in delays.back()]


def test_what_was_due_shortly_before_and_while_it_was_away(clock: Clock) -> None:
    kept = Delays()
    for due in (1, 7, 12, 30, 61):
        kept.note([clock.message(due, b"%d" % due), Commit(publishes=(Publish("q", b"now"),))])
    clock.now += 10
    kept.away()
    clock.now += 50
    kept.away()
    assert bodies(kept) == [b"7", b"12", b"30"], "the first one was safe by then, the last one waits still"
    assert bodies(kept) == []
    clock.now += 2
    kept.away()
    assert bodies(kept) == [b"61"]


def test_nothing_is_owed_by_a_broker_that_was_never_away(clock: Clock) -> None:
    kept = Delays()
    kept.note([clock.message(1)])
    clock.now += 2
    assert bodies(kept) == []


def test_it_forgets_as_it_goes(clock: Clock) -> None:
    kept = Delays()
    for _ in range(100):
        kept.note([clock.message(1)])
        clock.now += 1
    assert len(kept._waiting) <= delays.SAFE + 2


def test_but_not_while_the_broker_is_away(clock: Clock) -> None:
    """Another connection may be back before."""
    kept = Delays()
    kept.note([clock.message(1, b"1")])
    kept.away()
    clock.now += 100
    kept.note([clock.message(1, b"101")])
    assert bodies(kept) == [b"1"]


def test_there_is_an_end_to_what_it_remembers(clock: Clock) -> None:
    kept = Delays()
    kept.note([clock.message(i + 1) for i in range(MOST + 10)])
    assert len(kept._waiting) == MOST
