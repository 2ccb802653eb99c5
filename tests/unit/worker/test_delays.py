"""What waits in the broker while that goes away."""

from __future__ import annotations

import time

import pytest

from gearmesh.wire.commit import Publish
from gearmesh.worker import delays
from gearmesh.worker.delays import LONGEST, MOST, Delays


class Clock:
    """Unix time that stands still, but for :attr:`now`, in seconds."""

    now = 1_800_000_000.0

    def time_ns(self) -> int:
        return int(self.now * 1e9)

    def note(self, delays: Delays, seconds: float, body: bytes = b"x") -> None:
        """A message that leaves its wait in so many seconds."""
        now = self.time_ns()
        delays.note(Publish("q", body), now + int(seconds * 1e9), now)


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
        clock.note(kept, due, b"%d" % due)
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
    clock.note(kept, 1)
    clock.now += 2
    assert bodies(kept) == []


def test_it_forgets_as_it_goes(clock: Clock) -> None:
    kept = Delays()
    for _ in range(100):
        clock.note(kept, 1)
        clock.now += 1
    assert len(kept._waiting) <= delays.SAFE + 2


def test_but_not_while_the_broker_is_away(clock: Clock) -> None:
    """Another connection may be back before."""
    kept = Delays()
    clock.note(kept, 1, b"1")
    kept.away()
    clock.now += 100
    clock.note(kept, 1, b"101")
    assert bodies(kept) == [b"1"]


def test_there_is_an_end_to_what_it_remembers(clock: Clock) -> None:
    kept = Delays()
    clock.note(kept, LONGEST + 1)
    assert not kept._waiting
    for _ in range(MOST + 10):
        clock.note(kept, LONGEST)
    assert len(kept._waiting) == MOST
