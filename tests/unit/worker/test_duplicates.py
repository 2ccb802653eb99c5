"""A possible duplicate waits for the other deliveries of its UUID, and delays no other task."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from gearmesh import App
from gearmesh.worker.duplicates import FIRST_HOLD_S, MAX_EXTRA_HELD_JOBS, DuplicateHold
from gearmesh.worker.job import Job
from gearmesh.worker.job_table import JobTable
from gearmesh.worker.prior_outcome import MAX_DUPLICATE_ATTEMPTS

MakeJob = Callable[..., Job]

BODY = b"the message"
PASSED = 1.0  # by the monotonic clock: long ago


@pytest.fixture(autouse=True)
def tasks(app: App) -> None:
    app.task(lambda: None, name="work")


@pytest.fixture
def jobs() -> JobTable:
    return JobTable()


@pytest.fixture
def duplicates(jobs: JobTable) -> DuplicateHold:
    return DuplicateHold(jobs)


@pytest.fixture
def held(jobs: JobTable, make_job: MakeJob) -> MakeJob:
    """A job that the worker holds."""

    def make(uuid: str, **fields: int) -> Job:
        job = make_job("work", UUID=uuid, **fields)
        jobs[job.delivery.id] = job
        return job

    return make


def test_a_plain_message_need_not_wait(duplicates: DuplicateHold, held: MakeJob, make_job: MakeJob) -> None:
    held("a")
    assert duplicates.due(make_job("work", UUID="a")) == 0
    assert duplicates.due(make_job("work", UUID="b", redelivered=1)) == 0, (
        "no other delivery of its UUID is here"
    )


@pytest.mark.parametrize(
    "how", [{"redelivered": 1}, {"republished": True}], ids=["redelivered", "republished"]
)
def test_one_that_may_be_there_twice_waits_for_its_twin_only(
    duplicates: DuplicateHold, held: MakeJob, make_job: MakeJob, how: dict[str, Any]
) -> None:
    held("a")
    job = make_job("work", UUID="a", **how)
    job.received_at = 7.0
    assert duplicates.due(job) == 7.0


@pytest.mark.parametrize("duplicate_attempt", [1, 2, MAX_DUPLICATE_ATTEMPTS, MAX_DUPLICATE_ATTEMPTS + 3])
def test_a_copy_waits_twice_as_long_each_turn(
    duplicates: DuplicateHold, make_job: MakeJob, duplicate_attempt: int
) -> None:
    waits = set()
    for _ in range(20):
        job = make_job("work", duplicate_attempt=duplicate_attempt, redelivered=1)
        job.received_at = 7.0
        waits.add(duplicates.due(job) - 7.0)
    shortest = FIRST_HOLD_S * 2 ** (min(duplicate_attempt, MAX_DUPLICATE_ATTEMPTS) - 1)
    assert all(shortest <= wait <= shortest + FIRST_HOLD_S for wait in waits)
    assert len(waits) > 1, "two copies do not look at the same moment"


def test_a_duplicate_begins_when_its_wait_is_over(duplicates: DuplicateHold, held: MakeJob) -> None:
    early, late = held("early", duplicate_attempt=1), held("late", duplicate_attempt=1)
    duplicates.add(early, BODY, PASSED)
    duplicates.add(late, BODY, time.monotonic() + 100)
    assert duplicates.begin(10) == [(early, BODY)]
    assert duplicates.ids == {late.delivery.id}
    assert early.received_at > PASSED, "the wait for the other copy does not count as a wait for a slot"


def test_of_one_uuid_one_begins(duplicates: DuplicateHold, held: MakeJob, jobs: JobTable) -> None:
    running, first, second = (held("a", redelivered=1) for _ in range(3))
    for job in (first, second):
        duplicates.add(job, BODY, PASSED)
    assert duplicates.begin(10) == [], "its twin runs"
    del jobs[running.delivery.id]
    assert duplicates.begin(10) == [(first, BODY)]
    assert duplicates.begin(10) == []
    del jobs[first.delivery.id]
    assert duplicates.begin(10) == [(second, BODY)]
    assert not duplicates


def test_nobody_begins_without_a_slot(duplicates: DuplicateHold, held: MakeJob, jobs: JobTable) -> None:
    running = held("running")
    waiting = [held(f"copy_{number}", duplicate_attempt=1) for number in range(3)]
    for job in waiting:
        duplicates.add(job, BODY, PASSED)
    assert duplicates.begin(1) == []
    assert duplicates.begin(2) == [(waiting[0], BODY)]
    del jobs[running.delivery.id]
    assert duplicates.begin(3) == [(job, BODY) for job in waiting[1:]]


def test_a_copy_before_its_time_takes_no_slot(duplicates: DuplicateHold, held: MakeJob) -> None:
    for number in range(MAX_EXTRA_HELD_JOBS + 5):
        duplicates.add(held(f"copy_{number}", duplicate_attempt=1), BODY, time.monotonic() + 100)
    assert duplicates.extra == MAX_EXTRA_HELD_JOBS, "so many messages more may be held, and no more"
    duplicates.take_back()
    duplicates.add(held("due", duplicate_attempt=1), BODY, PASSED)
    assert duplicates.extra == 0


def test_the_pause_ends_with_the_next_time(duplicates: DuplicateHold, held: MakeJob) -> None:
    assert duplicates.pause(1.0) == 1.0
    duplicates.add(held("waits for a slot", duplicate_attempt=1), BODY, PASSED)
    assert duplicates.pause(1.0) == 1.0, "a slot makes itself known"
    duplicates.add(held("later", duplicate_attempt=1), BODY, time.monotonic() + 100)
    assert duplicates.pause(1.0) == 1.0
    duplicates.add(held("soon", duplicate_attempt=1), BODY, time.monotonic() + 30)
    assert 0 < duplicates.pause(60.0) <= 30


def test_some_or_all_are_taken_back(duplicates: DuplicateHold, held: MakeJob) -> None:
    first, second, third = (held(name, duplicate_attempt=1) for name in "abc")
    for job in (first, second, third):
        duplicates.add(job, BODY, PASSED)
    assert duplicates.take_back({second.delivery.id, 99}) == [second]
    assert duplicates.take_back(set()) == []
    assert duplicates.take_back() == [first, third]
    assert not duplicates
