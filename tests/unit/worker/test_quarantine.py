"""An isolated job runs alone, and the jobs beside it go back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import kombu
import msgspec
import pytest

from gearmesh import App, TaskFailed
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.worker.job import Job
from gearmesh.worker.job_table import JobTable
from gearmesh.worker.quarantine import Quarantine
from gearmesh.worker.worker import Worker

MakeJob = Callable[..., Job]


class Waiting:
    """An executor that begins nothing."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, jobs: Sequence[Job]) -> None:
        self.jobs += jobs

    def take_back(self) -> list[Job]:
        back, self.jobs = self.jobs, []
        return back


@pytest.fixture(autouse=True)
def tasks(app: App) -> None:
    app.task(lambda: None, name="work")


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """The broker's URL: in memory, unless the test asks for ``redis``."""
    if getattr(request, "param", "memory") == "memory":
        return f"memory://{uuid4().hex}"
    url: str = request.getfixturevalue("redis_url")
    return url


@pytest.fixture
def ward(make_job: MakeJob) -> tuple[Quarantine, Waiting, JobTable, list[Job]]:
    executor, jobs, back = Waiting(), JobTable(), list[Job]()
    return Quarantine(jobs, executor, back.extend), executor, jobs, back  # type: ignore[arg-type]


def test_an_isolated_job_waits_until_it_is_alone(ward: Any, make_job: MakeJob) -> None:
    quarantine, executor, jobs, back = ward
    running, waiting, isolated, other = (make_job("work") for _ in range(4))
    jobs |= {job.delivery.id: job for job in (running, waiting, isolated, other)}
    executor.submit([waiting])
    quarantine.step()
    assert not quarantine.busy
    quarantine.add(isolated)
    quarantine.add(other)
    assert quarantine.busy
    quarantine.step()
    assert back == [waiting, other]
    assert executor.jobs == [], "another job is running"
    for job in (waiting, other, running):
        del jobs[job.delivery.id]
    quarantine.step()
    assert executor.jobs == [isolated]
    assert quarantine.busy, "while it runs"
    quarantine.step()
    assert executor.jobs == [isolated]
    jobs.clear()
    assert not quarantine.busy


def test_a_worker_that_stops_takes_isolated_jobs_back(ward: Any, make_job: MakeJob) -> None:
    quarantine, _, _, _ = ward
    isolated = make_job("work")
    quarantine.add(isolated)
    assert quarantine.take_back() == [isolated]
    assert not quarantine.busy


def recover(url: str, worker: str, running: Sequence[int]) -> None:
    with open_connection(url) as connection:
        connection.channel().recover(worker, ["machinery_tasks"], crashed=True, running=running)


def hold(url: str, count: int) -> tuple[str, list[int]]:
    """Take messages as a consumer that will die."""
    connection = open_connection(url)
    channel = connection.channel()
    got: list[Any] = []
    queue = kombu.Queue("machinery_tasks", channel=channel, no_declare=True)
    consumer = kombu.Consumer(channel, [queue], on_message=got.append, accept=None, auto_declare=False)
    channel.basic_qos(0, count, False)
    consumer.consume()
    while len(got) < count:
        connection.drain_events(timeout=5)
    return channel.consumer, [message.delivery.id for message in got]


@pytest.mark.parametrize("url", ["memory", "redis"], indirect=True)
def test_isolated_jobs_run_one_by_one(app: App, url: str) -> None:
    """Jobs that ran when a process died run alone; others run beside each other as usual."""
    lock = threading.Lock()
    running: list[int] = []
    company: dict[int, int] = {}

    @app.task
    def meet(number: int) -> None:
        with lock:
            running.append(number)
        time.sleep(0.1)
        with lock:
            company[number] = len(running)
            running.remove(number)

    results = [meet.delay(n) for n in range(12)]
    name, ids = hold(url, 6)
    recover(url, name, ids[:3])
    with Worker(app, concurrency=4):
        for result in results:
            result.get(timeout=10)
    assert [company[n] for n in range(3)] == [1, 1, 1]
    assert max(company[n] for n in range(3, 12)) > 1


@pytest.mark.parametrize("url", ["memory", "redis"], indirect=True)
def test_three_deaths_alone_make_a_dead_letter(app: App, url: str) -> None:
    ran: list[int] = []

    @app.task
    def poison() -> None:
        ran.append(1)

    result = poison.delay()
    for _ in range(3):
        name, ids = hold(url, 1)
        recover(url, name, ids)
    with Worker(app), pytest.raises(TaskFailed, match="its process died 3 times while it ran alone"):
        result.get(timeout=10)
    assert not ran
    with open_connection(url) as connection:
        channel = connection.channel()
        (letter,) = eventually(lambda: channel.dead_letters("machinery_tasks"))
    assert letter.reason == "its process died 3 times while it ran alone"


def test_a_delivery_is_not_isolated_by_itself(make_job: MakeJob) -> None:
    delivery = make_job("work").delivery
    assert (delivery.crash_count, delivery.isolate) == (None, False)
    assert msgspec.structs.replace(delivery, crash_count=0).isolate


@pytest.mark.parametrize(
    ("crash_count", "defers"),
    [
        pytest.param(0, False, id="it never ran alone when a process died"),
        pytest.param(0.25, False, id="a single kill that may have had another cause"),
        pytest.param(0.5, True, id="two such kills"),
        pytest.param(1, True, id="it brought its process down"),
    ],
)
def test_only_a_likely_culprit_goes_behind_the_others(
    ward: Any, make_job: MakeJob, crash_count: float, defers: bool
) -> None:
    quarantine = ward[0]
    job = make_job("work")
    job.delivery = msgspec.structs.replace(job.delivery, crash_count=crash_count)
    assert quarantine.defers(job) is defers
    assert not quarantine.defers(job), "each process defers it once"
