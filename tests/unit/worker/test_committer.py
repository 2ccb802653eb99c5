"""The committer: the commits of one flush, the states that it writes, and its behaviour in outages."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

import kombu
import pytest
import redis

from gearmesh import App
from gearmesh.backends.registry import open_backend
from gearmesh.errors import Unstorable
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import ChordCheck, Commit, Publish, Settle, Trigger
from gearmesh.testing.contracts.support import Tap, signature
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.wire.names import CHORD_MUTEX
from gearmesh.wire.state import FAILURE, PENDING, RECEIVED, STARTED, SUCCESS, GroupMeta, TaskState
from gearmesh.worker.committer import MAX_FLUSH_COMMITS, Committer
from gearmesh.worker.events import WorkerEvents
from gearmesh.worker.job import Job
from gearmesh.worker.job_table import JobTable
from gearmesh.worker.runner import Runner

from .support import Recorder

QUEUE = "machinery_tasks"
MakeJob = Callable[..., Job]


class Desk(WorkerEvents):
    """A committer with its recorder, and jobs that are really held."""

    def __init__(self, url: str, make_job: MakeJob) -> None:
        self.recorder = Recorder(url)
        self.backend: Backend = open_backend(url, expire=3600)
        self.jobs = JobTable()
        self.ticks = self.flushes = 0
        self.fired: list[Job] = []
        self.stalls: list[bool] = []
        self.tap = Tap(open_connection(url), (QUEUE,), 0)
        self._make_job = make_job
        self._number = 0
        self.committer = Committer(self.recorder.connect, self.backend, self.jobs, self)

    def fire_chord(self, job: Job, commit: Commit) -> Commit:
        self.fired.append(job)
        return Commit(states=(), settle=commit.settle)

    def fail_unstorable(self, job: Job, exc: Unstorable) -> Commit:
        failure = TaskState(TaskUUID=job.sig.UUID, State=FAILURE, Error=exc.reason)
        return Commit(states=(failure,), settle=Settle(job.delivery))

    def flushed(self) -> None:
        self.flushes += 1

    def stalled(self, stalled: bool) -> None:
        self.stalls.append(stalled)

    def tick(self) -> None:
        self.ticks += 1

    def hold(self, count: int) -> list[Job]:
        """Jobs whose messages this desk holds, received now."""
        self.tap.publish(QUEUE, *(signature(QUEUE, self._number + i) for i in range(count)))
        jobs = []
        for message in self.tap.take(count):
            self._number += 1
            job = self._make_job("nothing", UUID=f"task_{self._number}")
            job.delivery = message.delivery
            job.received_at = time.monotonic()
            self.jobs[job.delivery.id] = job
            jobs.append(job)
        return jobs

    def done(self, job: Job) -> None:
        """Hand over its SUCCESS."""
        state = TaskState(TaskUUID=job.sig.UUID, State=SUCCESS, Results=())
        self.committer.add(Commit(states=(state,), settle=Settle(job.delivery)), job)

    def stored(self, job: Job) -> str:
        state = self.backend.read([job.sig.UUID])[0]
        return state.State if state is not None else ""

    def close(self) -> None:
        self.recorder.gate.set()
        self.committer.stop(10)
        self.tap.close()
        self.backend.close()


@pytest.fixture(autouse=True)
def task(app: App) -> None:
    app.task(lambda: None, name="nothing")


@pytest.fixture
def desk(url: str, make_job: MakeJob) -> Iterator[Desk]:
    """On the memory broker, started."""
    desk = Desk(url, make_job)
    desk.committer.start(desk)
    yield desk
    desk.close()


@pytest.fixture
def redis_desk(redis_url: str, make_job: MakeJob) -> Iterator[Desk]:
    """On Redis, started."""
    desk = Desk(redis_url, make_job)
    desk.committer.start(desk)
    yield desk
    desk.close()


def test_jobs_that_end_during_a_flush_are_committed_together(desk: Desk) -> None:
    first, *rest = desk.hold(101)
    desk.recorder.gate.clear()
    desk.done(first)
    assert desk.recorder.waiting.wait(60)
    for job in rest:
        desk.done(job)
    desk.recorder.gate.set()
    assert desk.committer.drain(60)
    assert desk.recorder.sizes == [1, 100]
    assert desk.jobs == {}
    assert {desk.stored(job) for job in (first, *rest)} == {SUCCESS}


@pytest.mark.parametrize("waited", [0.0, 1.0])
def test_a_flush_is_bounded(desk: Desk, waited: float) -> None:
    """Though jobs have waited so long that their RECEIVED would be shown, if they were not done."""
    jobs = desk.hold(1500)
    for job in jobs:
        job.received_at -= waited
    desk.recorder.gate.clear()
    for job in jobs:
        desk.done(job)
    desk.recorder.gate.set()
    assert desk.committer.drain(10)
    assert max(desk.recorder.sizes) <= 512
    ended = [commit for batch in desk.recorder.batches for commit in batch if commit.settle.how != "keep"]
    assert len(ended) == 1500


def test_the_committer_shows_at_most_512_jobs_a_flush(desk: Desk) -> None:
    """Jobs that have waited are shown flush by flush, each of them once."""
    jobs = desk.hold(1500)
    for job in jobs:
        job.received_at -= 1.0
    desk.committer.watch_jobs()
    eventually(lambda: sum(desk.recorder.sizes) == 1500)
    assert max(desk.recorder.sizes) <= 512
    assert {desk.stored(job) for job in jobs} == {RECEIVED}


def test_a_long_task_is_shown_beside_full_flushes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    long, *rest = jobs = desk.hold(2 * MAX_FLUSH_COMMITS + 77)
    for job in jobs:
        job.received_at += 60.0  # none is shown yet, however slow the machine is
    desk.recorder.gate.clear()
    desk.done(rest.pop())
    assert desk.recorder.waiting.wait(60)
    for job in rest:
        desk.done(job)
    long.received_at -= 120.0
    monkeypatch.setattr(
        "gearmesh.worker.committer.SHOW_STATE_AFTER_S", 0.0
    )  # the committer looks at each flush
    desk.recorder.gate.set()
    assert desk.committer.drain(10)
    assert desk.recorder.sizes[1:3] == [MAX_FLUSH_COMMITS] * 2
    assert desk.recorder.words(long.sig.UUID) == [RECEIVED]
    assert [state.State for state in desk.recorder.batches[1][0].states] == [RECEIVED]
    assert {desk.stored(job) for job in rest} == {SUCCESS}


def test_the_intake_hears_of_each_flush(desk: Desk) -> None:
    (job,) = desk.hold(1)
    desk.done(job)
    assert desk.committer.drain(60)
    assert desk.flushes == len(desk.recorder.batches) == 1


def test_a_short_task_is_written_once(desk: Desk) -> None:
    took = 1.0
    while took > 0.045:  # a busy machine can make a long task of it
        (job,) = desk.hold(1)
        desk.committer.watch_jobs()
        job.started_at = time.monotonic()
        time.sleep(0.01)
        desk.done(job)
        took = time.monotonic() - job.received_at
        assert desk.committer.drain(60)
    assert desk.recorder.words(job.sig.UUID) == [SUCCESS]


def test_a_long_task_is_visible_as_started(desk: Desk) -> None:
    (job,) = desk.hold(1)
    began = job.started_at = time.monotonic()
    desk.committer.watch_jobs()
    eventually(lambda: desk.stored(job) == STARTED)
    assert 0.05 <= time.monotonic() - began < 20, "not before it has been true for 50 ms"
    time.sleep(0.1)
    assert desk.recorder.words(job.sig.UUID) == [STARTED], "once"
    assert desk.jobs == {job.delivery.id: job}, "the worker still holds the message"
    desk.done(job)
    assert desk.committer.drain(60)
    assert desk.recorder.words(job.sig.UUID) == [STARTED, SUCCESS]


def test_a_task_that_waits_is_visible_as_received(desk: Desk) -> None:
    running, waiting = desk.hold(2)
    running.started_at = time.monotonic()
    desk.committer.watch_jobs()
    eventually(lambda: desk.stored(waiting) == RECEIVED)
    waiting.started_at = time.monotonic()
    eventually(lambda: desk.stored(waiting) == STARTED)
    assert desk.recorder.words(waiting.sig.UUID) == [RECEIVED, STARTED]
    assert desk.recorder.words(running.sig.UUID) == [STARTED]


def test_only_the_newest_state_is_written(desk: Desk) -> None:
    """The task ended while a flush took long: the committer need not write its STARTED any more."""
    other, job = desk.hold(2)
    desk.recorder.gate.clear()
    desk.done(other)
    assert desk.recorder.waiting.wait(60)
    job.started_at = time.monotonic()
    time.sleep(0.1)
    desk.done(job)
    desk.recorder.gate.set()
    assert desk.committer.drain(60)
    assert desk.recorder.words(job.sig.UUID) == [SUCCESS]


def test_ticks_while_there_are_jobs_and_none_without(desk: Desk) -> None:
    (job,) = desk.hold(1)
    desk.committer.watch_jobs()
    eventually(lambda: desk.ticks > 2)
    desk.done(job)
    assert desk.committer.drain(60)

    def at_rest() -> bool:
        ticks = desk.ticks
        time.sleep(0.2)
        return desk.ticks == ticks

    eventually(at_rest)


def test_a_complete_group_is_fired_at_once(desk: Desk) -> None:
    (job,) = desk.hold(1)
    desk.backend.create_group(GroupMeta(GroupUUID="group_1", TaskUUIDs=(job.sig.UUID,)))
    state = TaskState(TaskUUID=job.sig.UUID, State=SUCCESS, Results=())
    commit = Commit(states=(state,), settle=Settle(job.delivery), chord=ChordCheck("group_1", 1))
    desk.committer.add(commit, job)
    assert desk.committer.drain(60)
    assert desk.fired == [job]
    assert desk.jobs == {}


def test_a_busy_chord_is_tried_again_and_delays_no_other_task(redis_desk: Desk, redis_url: str) -> None:
    desk = redis_desk
    member, *others = desk.hold(6)
    desk.backend.create_group(GroupMeta(GroupUUID="group_1", TaskUUIDs=(member.sig.UUID,)))
    trigger = Trigger("group_1", member.sig.UUID, (), (Publish("callbacks", b"callback"),))
    with redis.Redis.from_url(redis_url) as go:
        go.set(CHORD_MUTEX, "go", nx=True, px=8000)
        desk.committer.add(Commit(settle=Settle(member.delivery), trigger=trigger), member)
        for job in others:
            desk.done(job)
        eventually(lambda: set(desk.jobs.values()) == {member})
        assert go.llen("callbacks") == 0
        assert not desk.committer.drain(0.1)
        go.delete(CHORD_MUTEX)
        assert desk.committer.drain(60)
        assert go.llen("callbacks") == 1
    assert desk.jobs == {}


def test_a_bad_commit_is_a_dead_letter_and_stops_nobody(redis_desk: Desk) -> None:
    desk = redis_desk
    good, bad, also_good = desk.hold(3)
    desk.recorder.gate.clear()
    desk.done(good)
    wrong = TaskState(TaskUUID=bad.sig.UUID, TaskName="brings its own", State=SUCCESS)
    desk.committer.add(Commit(states=(wrong,), settle=Settle(bad.delivery)), bad)
    desk.done(also_good)
    desk.recorder.gate.set()
    assert desk.committer.drain(60)
    assert [desk.stored(job) for job in (good, bad, also_good)] == [SUCCESS, "", SUCCESS]
    (letter,) = desk.tap.verbs.dead_letters(QUEUE)
    assert letter.reason.startswith("commit failed: ")
    assert letter.body == signature(QUEUE, 1)
    assert desk.jobs == {}


@pytest.mark.parametrize("acted", [False, True], ids=["before it acted", "after it acted"])
def test_a_flush_is_repeated_on_a_new_connection(
    acted: bool, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    left = [1, 1]

    def break_twice(commits: Sequence[Commit]) -> None:
        if left:
            left.pop()
            raise ConnectionResetError("cut")

    if acted:
        desk.recorder.after = break_twice
    else:
        desk.recorder.before = break_twice
    # The memory broker itself knows no such trouble.
    desk.backend.connection_errors = (ConnectionError,)
    jobs = desk.hold(3)
    with caplog.at_level(logging.WARNING):
        for job in jobs:
            desk.done(job)
        assert desk.committer.drain(10)
    assert desk.recorder.opened == 3
    assert {desk.stored(job) for job in jobs} == {SUCCESS}
    assert desk.jobs == {}
    assert "results and acknowledgements wait, a server is unreachable: cut" in caplog.text
    assert desk.stalls == [True, True, False], "nothing is begun meanwhile, and afterwards again"
    assert "lease was lost" not in caplog.text, "the first attempt had settled the message"


def test_a_lost_lease_is_said(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    (job,) = desk.hold(1)
    desk.tap.verbs.recover(desk.tap.name, [QUEUE])
    with caplog.at_level(logging.WARNING):
        desk.done(job)
        assert desk.committer.drain(60)
    assert "its lease was lost" in caplog.text
    assert desk.stored(job) == ""
    assert desk.jobs == {}


def test_stop_while_the_server_is_away(desk: Desk) -> None:
    def away(commits: Sequence[Commit]) -> None:
        raise ConnectionRefusedError("away")

    desk.recorder.before = away
    desk.backend.connection_errors = (ConnectionError,)
    (job,) = desk.hold(1)
    desk.done(job)
    eventually(lambda: desk.stalls)
    assert not desk.committer.drain(0.3)
    assert set(desk.stalls) == {True}
    began = time.monotonic()
    desk.committer.stop(60)
    assert time.monotonic() - began < 30
    assert desk.tap.verbs.recover(desk.tap.name, [QUEUE]) == 1, "the worker still holds the message"


def test_stop_twice_and_before_start(url: str) -> None:
    def connect() -> kombu.Connection:
        raise AssertionError("there is nothing to commit")

    backend = open_backend(url, expire=60)
    runner = Runner(App(broker=url))
    committer = Committer(connect, backend, JobTable(), runner)
    committer.stop(1)
    assert committer.drain(0)
    committer = Committer(connect, backend, JobTable(), runner)
    committer.start(WorkerEvents())
    committer.stop(5)
    committer.stop(5)
    backend.close()


def test_publishes_without_a_delivery(desk: Desk) -> None:
    """A worker sends this on its own account."""
    state = TaskState(TaskUUID="task_x", TaskName="x", State=PENDING, CreatedAt="2026-01-01T00:00:00Z")
    desk.committer.add(Commit(states=(state,), publishes=(Publish("other", b"body"),)))
    assert desk.committer.drain(60)
    assert desk.tap.verbs.pending("other") == [b"body"]
