"""The table of a worker's jobs."""

from __future__ import annotations

from collections.abc import Callable

from gearmesh import App
from gearmesh.worker.job import Job
from gearmesh.worker.job_table import JobTable


def test_a_snapshot_may_be_iterated_while_jobs_come_and_go(app: App, make_job: Callable[..., Job]) -> None:
    app.task(lambda: None, name="work")
    jobs = [make_job("work") for _ in range(3)]
    table = JobTable({job.delivery.id: job for job in jobs})
    for job in table.snapshot():
        del table[job.delivery.id]
    assert table.snapshot() == []


def test_running_jobs_are_those_that_have_begun(app: App, make_job: Callable[..., Job]) -> None:
    app.task(lambda: None, name="work")
    jobs = [make_job("work") for _ in range(3)]
    table = JobTable({job.delivery.id: job for job in jobs})
    assert table.running() == []
    jobs[1].started_at = 1.0
    assert table.running() == [jobs[1]]
