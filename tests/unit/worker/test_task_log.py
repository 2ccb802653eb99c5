"""The lines that a worker logs about its tasks, and those that it leaves out."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from gearmesh import App
from gearmesh.units import duration
from gearmesh.worker.banner import MAX_TASKS_SHOWN, log_banner, oddities
from gearmesh.worker.job import Job
from gearmesh.worker.options import WorkerOptions
from gearmesh.worker.task_log import TaskLog

MakeJob = Callable[..., Job]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(app: App, make_job: MakeJob, clock: Clock) -> MakeJob:
    app.task(lambda: None, name="quick")

    def make() -> Job:
        job = make_job("quick")
        job.received_at = job.started_at = clock.now
        return job

    return make


@pytest.fixture(autouse=True)
def informed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gearmesh.worker")


def run(log: TaskLog, job: Job) -> None:
    log.received(job)
    log.succeeded(job)


def test_a_task_has_two_lines_that_name_it_once(
    jobs: MakeJob, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    job, log = jobs(), TaskLog(clock=clock)
    log.received(job)
    clock.now += 0.0123
    log.succeeded(job)
    assert caplog.messages == ["received", "succeeded in 12.3 ms"]
    assert [(record.task, record.uuid) for record in caplog.records] == [("quick", job.sig.UUID)] * 2  # type: ignore[attr-defined]


def test_beyond_the_limit_a_summary_counts_the_others(
    jobs: MakeJob, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    log = TaskLog(limit=3, clock=clock)
    for _ in range(50):
        run(log, jobs())
    assert caplog.messages.count("received") == caplog.messages.count("succeeded in 0 ms") == 3
    log.flush()
    assert len(caplog.messages) == 6, "the second is not over"
    clock.now += 1
    log.flush()
    assert caplog.messages[6].startswith("47 more succeeded in the last second, 0 ms each")
    run(log, jobs())
    assert caplog.messages[7:] == ["received", "succeeded in 0 ms"]
    clock.now += 1
    log.flush()
    assert len(caplog.messages) == 9


def test_a_flood_of_successes_hides_no_failure(
    jobs: MakeJob, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    log = TaskLog(limit=1, clock=clock)
    for _ in range(10):
        run(log, jobs())
    for _ in range(3):
        log.failed(jobs(), "'id'", KeyError("id"))
    clock.now += 1
    log.flush()
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors[0] == "failed after 0 ms: KeyError: 'id'"
    assert errors[1].startswith("2 more failed with KeyError")
    assert len(errors) == 2


def test_nothing_is_counted_where_info_is_not_logged(
    jobs: MakeJob, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gearmesh.worker")
    log = TaskLog(limit=1, clock=clock)
    for _ in range(10):
        run(log, jobs())
    clock.now += 1
    log.flush()
    assert not caplog.records


def test_a_retry_says_when_and_how_many_are_left(
    jobs: MakeJob, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    log = TaskLog(clock=clock)
    log.retried(jobs(), 2.0, 1, ValueError("not yet"))
    log.retried(jobs(), 2.0, 0, ValueError())
    assert caplog.messages == [
        "retry in 2 s (1 more retry): ValueError: not yet",
        "retry in 2 s (the last try): ValueError",
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0000071, "0.0071 ms"),
        (0.0123, "12.3 ms"),
        (0.25, "250 ms"),
        (2, "2 s"),
        (119.4, "119 s"),
        (300, "5 min"),
        (86400, "24 h"),
        (604800, "7 days"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_the_banner(caplog: pytest.LogCaptureFixture) -> None:
    app = App("redis://:secret@127.0.0.1:6379/0", "null", default_queue="a")
    for number in range(MAX_TASKS_SHOWN + 2):
        app.task(lambda: None, name=f"task{number:02}", queue="b")
    log_banner(app, WorkerOptions(concurrency=1), ["a", "b"])
    text = "\n".join(caplog.messages)
    assert "secret" not in text
    assert "broker redis://***@127.0.0.1:6379/0" in text
    assert "queues a, b; 1 thread; lease 30 s" in text
    assert f"{MAX_TASKS_SHOWN + 2} tasks: task00, " in text
    assert text.endswith("task29 and 2 more")
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_the_banner_as_one_record_for_machines(caplog: pytest.LogCaptureFixture) -> None:
    app = App("redis://:secret@127.0.0.1:6379/0", "null", default_queue="shop")
    app.task(lambda: None, name="pack")
    log_banner(app, WorkerOptions(concurrency=3), ["shop"])
    details = vars(caplog.records[0])["_details"]
    assert {key: details[key] for key in ("queues", "pool", "slots", "lease", "tasks")} == {
        "queues": ["shop"],
        "pool": "threads",
        "slots": 3,
        "lease": 30.0,
        "tasks": ["pack"],
    }
    assert "secret" not in str(details)


def test_a_queue_that_no_task_is_sent_to_is_odd() -> None:
    app = App("redis://127.0.0.1:6379/0", "null", default_queue="shop")
    app.task(lambda: None, name="pack", queue="parcels")
    assert oddities(app, ["shop", "parcels"]) == []
    (odd,) = oddities(app, ["parcels", "parcel"])
    assert odd.startswith("no task of this app is sent to the queue 'parcel'")
    assert odd.endswith("Queues of this app: parcels, shop")


def test_oddities_tell_of_no_tasks_of_memory_and_of_double_names(app: App) -> None:
    nothing, alone = oddities(app)
    assert "no tasks are registered" in nothing
    assert "memory" in alone

    def twice() -> None: ...

    app.task(twice, name="one")
    app.task(twice, name="two")
    assert oddities(app)[0] == "one function is registered under several names: one, two"


def test_a_queue_of_the_app_that_the_worker_does_not_read_is_odd() -> None:
    app = App("redis://127.0.0.1:1/0", "null")
    app.task(queue="pictures", name="thumbnail")(lambda: None)
    (odd,) = oddities(app, ["machinery_tasks"])
    assert "does not read the queue 'pictures', to which tasks of this app are sent: thumbnail" in odd
    assert not oddities(app, ["machinery_tasks", "pictures"])
