"""The contract of locks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from gearmesh.interfaces.lock import Claim, Lock
from gearmesh.testing.contracts.store import race
from gearmesh.testing.waiting import eventually

__all__ = ["LockContract"]

SECOND = 10**9
HOUR = 3600 * SECOND


class LockContract:
    """A suite of tests for a lock, with all that schedulers need.

    Subclass it in a test module and provide a fixture.

    ``open_lock``: a function ``()`` that opens the lock on a store without keys, the same store for each call in one
    test.
    """

    @pytest.fixture
    def open_lock(self) -> Callable[[], Lock]:
        """Return a function that opens the tested lock."""
        pytest.fail("provide the fixture 'open_lock'")

    @pytest.fixture
    def lock(self, open_lock: Callable[[], Lock]) -> Iterator[Lock]:
        """Return a lock that is closed, twice, after the test."""
        lock = open_lock()
        yield lock
        lock.close()
        lock.close()

    @pytest.fixture
    def claim(self) -> Claim:
        """Return a claim that is in time, for a task that is due every hour."""
        now = time.time_ns()
        key = f"machinery_lock_contract{uuid4().hex}* * * * *"
        return Claim(key=key, holder="one", due_ns=now, next_ns=now + HOUR, now_ns=now)

    def after(self, claim: Claim, periods: float) -> Claim:
        """Return the claim of a run ``periods`` periods later, in time."""
        shift = round(periods * (claim.next_ns - claim.due_ns))
        due = claim.due_ns + shift
        return replace(claim, due_ns=due, next_ns=claim.next_ns + shift, now_ns=due)

    def test_one_takes_it(self, lock: Lock, claim: Claim) -> None:
        assert lock.take(claim) is True
        assert lock.take(replace(claim, holder="two")) is False
        assert lock.fired(claim.key) == claim.due_ns

    def test_a_repeated_claim_gets_the_same_answer(self, lock: Lock, claim: Claim) -> None:
        other = replace(claim, holder="two")
        assert [lock.take(each) for each in (claim, other, claim, other)] == [True, False, True, False]

    def test_the_next_one_is_free_although_the_key_is_there(self, lock: Lock, claim: Claim) -> None:
        """A scheduler's clock may be some ms ahead of the server's clock."""
        assert lock.take(claim)
        assert lock.take(replace(self.after(claim, 1), holder="two"))
        assert lock.take(self.after(claim, 1)) is False

    def test_one_that_comes_late_in_its_time(self, lock: Lock, claim: Claim) -> None:
        late = replace(claim, now_ns=claim.next_ns - SECOND)
        assert lock.take(late)
        assert lock.take(replace(late, holder="two")) is False
        assert lock.take(replace(self.after(claim, 1), holder="two"))

    def test_a_slow_clock_fires_nothing_twice(self, lock: Lock, claim: Claim) -> None:
        """A scheduler whose clock is late by more than a period claims a run that another one sent long ago."""
        for periods in range(3):
            assert lock.take(self.after(claim, periods))
        for periods in range(3):
            assert lock.take(replace(self.after(claim, periods), holder="slow")) is False

    def test_other_phases_of_the_same_period(self, lock: Lock, claim: Claim) -> None:
        """The times of ``@every`` count from the start of each scheduler, so they differ between schedulers."""
        assert lock.take(claim)
        half = replace(self.after(claim, 0.5), holder="two")
        assert lock.take(half) is False
        assert lock.take(self.after(claim, 1))
        assert lock.take(self.after(half, 1)) is False

    def test_it_ends_by_itself(self, lock: Lock, claim: Claim) -> None:
        """A scheduler whose clock was set back may send earlier runs again, but only after a period has passed."""
        short = replace(claim, next_ns=claim.now_ns + SECOND // 5)
        back = replace(claim, holder="two", due_ns=claim.due_ns - SECOND, next_ns=claim.next_ns - SECOND)
        taken_at = time.monotonic()
        assert lock.take(short)
        assert lock.take(back) is False or time.monotonic() - taken_at > 0.2
        assert eventually(lambda: lock.take(back))

    def test_a_late_time_is_fired_once(self, lock: Lock, claim: Claim) -> None:
        late = [replace(self.after(claim, n), now_ns=claim.due_ns + 10 * HOUR) for n in range(3)]
        assert all(each.late for each in late)
        assert [lock.take(each) for each in late] == [True, True, True]
        assert [lock.take(replace(each, holder="two")) for each in late] == [False, False, False]
        assert lock.take(late[2]) is True
        assert lock.fired(claim.key) == late[2].due_ns

    def test_a_late_time_does_not_hinder_a_punctual_one(self, lock: Lock, claim: Claim) -> None:
        assert lock.take(replace(self.after(claim, -1), now_ns=claim.now_ns))
        assert lock.take(claim)
        assert lock.take(replace(self.after(claim, -1), now_ns=claim.now_ns, holder="two")) is False

    def test_keys_are_kept_apart(self, lock: Lock, claim: Claim) -> None:
        assert lock.take(claim)
        assert lock.take(replace(claim, key=claim.key + "x", holder="two"))
        assert lock.fired(claim.key + "y") is None

    def test_a_beginning_is_remembered(self, lock: Lock, claim: Claim) -> None:
        assert lock.fired(claim.key) is None
        assert lock.begin(claim.key, 17, 60) == 17
        assert lock.begin(claim.key, 18, 60) == 17
        assert lock.fired(claim.key) == 17
        assert lock.take(claim)
        assert lock.begin(claim.key, 19, 60) == claim.due_ns

    def test_a_beginning_takes_nothing(self, lock: Lock, claim: Claim) -> None:
        lock.begin(claim.key, claim.due_ns, 60)
        assert lock.take(claim)

    def test_the_lock_forgets_the_last_fired_time(self, lock: Lock, claim: Claim) -> None:
        lock.begin(claim.key, 17, 0.05)
        assert eventually(lambda: lock.fired(claim.key) is None)

    def test_shared(self, open_lock: Callable[[], Lock], lock: Lock, claim: Claim) -> None:
        if not lock.keeps:
            pytest.skip("this lock is not shared")
        other = open_lock()
        assert lock.take(claim)
        assert other.take(replace(claim, holder="two")) is False
        lock.close()
        assert other.fired(claim.key) == claim.due_ns
        other.close()

    def test_many_threads(self, lock: Lock, claim: Claim) -> None:
        fired: list[int] = []
        together = threading.Barrier(16)

        def claim_all(number: int) -> None:
            for periods in range(10):
                together.wait(30)
                if lock.take(replace(self.after(claim, periods), holder=f"thread {number}")):
                    fired.append(periods)

        race(16, claim_all)
        assert sorted(fired) == list(range(10))

    def test_closed_and_used_again(self, lock: Lock, claim: Claim) -> None:
        lock.close()
        assert lock.take(claim) is True
